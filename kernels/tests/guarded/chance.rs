//! Shapes and lengths by chance, from a seed.

use kernels::{
    Activation, Conv2dOptions, Epilogue, Layout, NormSets, PaddingMode, Pool, Store, Window,
};

/// A stream of numbers: SplitMix64.
pub struct Chance(u64);

impl Chance {
    pub fn new(seed: u64) -> Chance {
        Chance(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5bd1_e995)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    /// Once in so many times.
    pub fn once_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    pub fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    /// A length that is mostly this one.
    pub fn near(&mut self, len: usize) -> usize {
        if !self.once_in(40) {
            return len;
        }
        let other =
            [0, len.wrapping_sub(1), len + 1, len.wrapping_sub(16), len + 16, len / 2, 2 * len];
        self.of(&other).min(1 << 20)
    }

    /// A count that is mostly small.
    pub fn count(&mut self) -> usize {
        if self.once_in(60) {
            return self.of(&[
                usize::MAX,
                usize::MAX / 2,
                1 << 60,
                (1 << 60) + 1,
                1 << 32,
                1 << 31,
            ]);
        }
        self.of(&[0, 1, 1, 2, 3, 5, 8, 15, 16, 17, 31, 32, 33])
    }

    pub fn side(&mut self) -> usize {
        if self.once_in(80) {
            return self.of(&[0, usize::MAX, 1 << 33]);
        }
        1 + self.below(9)
    }

    pub fn size(&mut self) -> [usize; 2] {
        [self.side(), self.side()]
    }

    /// A layout that can be held in a buffer.
    pub fn layout(&mut self) -> Layout {
        let blocks = if self.once_in(80) {
            self.count()
        } else {
            self.below(3) + usize::from(!self.once_in(8))
        };
        let layout = Layout::new(blocks, self.count(), self.size());
        assert!(layout.len() <= 1 << 17, "more than is tried");
        layout
    }

    pub fn window(&mut self) -> Window {
        let mut pair = |usual: &[usize]| {
            [0, 1].map(|_| {
                let odd = [0, usize::MAX, usize::MAX / 2, 1 << 32, 7];
                if self.once_in(60) { self.of(&odd) } else { self.of(usual) }
            })
        };
        Window {
            kernel: pair(&[1, 1, 2, 3, 3, 5]),
            stride: pair(&[1, 1, 2, 3]),
            padding: pair(&[0, 0, 1, 2, 4]),
            dilation: pair(&[1, 1, 1, 2]),
        }
    }

    /// One group and padding alike on all sides as often as not.
    pub fn options(&mut self) -> Conv2dOptions {
        let mut options = Conv2dOptions::from(self.window());
        if self.once_in(3) {
            let after = [0, 1].map(|_| self.of(&[0, 1, 2, 3]));
            options = options.padding(options.window.padding, after);
        }
        if self.once_in(4) {
            options = options.padding_mode(PaddingMode::Reflect);
        }
        if self.once_in(3) {
            options = options.groups(self.of(&[2, 2, 3, 5, 16, 17, 0, usize::MAX]));
        }
        options
    }

    pub fn store(&mut self) -> Store {
        self.of(&[Store::Overwrite, Store::Accumulate])
    }

    pub fn epilogue(&mut self) -> Epilogue {
        self.of(&[Epilogue::None, Epilogue::Relu])
    }

    pub fn activation(&mut self) -> Activation {
        self.of(&[
            Activation::Relu,
            Activation::LeakyRelu(0.1),
            Activation::Relu6,
            Activation::HardSigmoid,
            Activation::HardSwish,
            Activation::Sigmoid,
            Activation::Tanh,
            Activation::Silu,
            Activation::Gelu,
            Activation::GeluTanh,
            Activation::Elu(1.0),
            Activation::Softplus(2.0),
        ])
    }

    /// An activation, or none.
    pub fn activated(&mut self) -> Option<Activation> {
        let some = self.activation();
        self.of(&[None, Some(Activation::Relu), Some(some)])
    }

    pub fn pool(&mut self) -> Pool {
        let window = self.window();
        let [ceil, count_padding] = [0, 1].map(|_| self.once_in(2));
        let size = [self.count(), self.count()];
        self.of(&[
            window.into(),
            Pool::Sliding { window, ceil, count_padding },
            Pool::Adaptive([size[0] % 7, size[1] % 7]),
            Pool::Adaptive(size),
        ])
    }

    pub fn sets(&mut self, channels: usize) -> NormSets {
        let groups = [1, 2, 3, channels, channels / 2, self.count()];
        if self.once_in(3) { NormSets::Pixels } else { NormSets::Groups(self.of(&groups)) }
    }
}
