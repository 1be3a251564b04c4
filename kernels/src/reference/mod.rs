//! Plain loops, generic over `f32` and `f64`: what every kernel is checked against.
