//! Hosts of every shape: what they present, name and share.

use crate::support::judge::Worth;
use crate::support::scene::{Scene, must, plain};

#[test]
fn two_sites_are_stapled() {
    let mut scene = Scene::new(60, &[must("a.test"), plain("b.test")], "");
    scene.start();
    for name in ["a.test", "b.test"] {
        assert_eq!(scene.handshake(name).expect("a handshake").worth, Worth::Good);
    }
}
