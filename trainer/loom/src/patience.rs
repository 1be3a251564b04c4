//! A wait that lets another thread go on, and is over at once where the waiting thread may sleep.

use loom::thread;

pub struct Patience;

impl Patience {
    pub fn new(_eager: bool) -> Patience {
        Patience
    }

    pub fn wait(&mut self) -> bool {
        thread::yield_now();
        false
    }
}
