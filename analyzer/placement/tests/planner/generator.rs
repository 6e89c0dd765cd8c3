//! The clusters of the benchmark are the generator's, byte by byte.

use crate::support::events::{Event, of_benchmark};
use crate::support::generator::{Scale, Start, generate};
use sha2::{Digest, Sha256};

/// SHA-256 of nodes.csv, parts.csv and assign.csv as `gen.py S SEED DIR PLACEMENT` wrote them.
const FILES: [(u64, Start, [&str; 3]); 4] = [
    (
        1,
        Start::Random,
        [
            "5c06c32c361965363c94559f526bceb42dab0136c23b95bb5b7900cf45911ca7",
            "b97c5c73f0ec9ebe949c202d22042cb2ac7e3a7fe493b6061db9d150f9fd358b",
            "5c4588fa1c4279d9bb209164f2c3bc1ba9cd8bab43f94293f87150271fbc54d0",
        ],
    ),
    (
        1,
        Start::Copysets(10),
        [
            "5c06c32c361965363c94559f526bceb42dab0136c23b95bb5b7900cf45911ca7",
            "b97c5c73f0ec9ebe949c202d22042cb2ac7e3a7fe493b6061db9d150f9fd358b",
            "b3e51ae3925dd5a94e8df6615f5ab325ab0f6626debf434ad586eb1ebc3d45e5",
        ],
    ),
    (
        2,
        Start::Random,
        [
            "c103a739a7dc4914c4b5b3c1d7d1178c973a09a56e1743869daec0e9fca8bdee",
            "2ee9914ee99f7ce0c02d707d86d99ff4d0d5ddc96bfc1b67ab496c79bc4b73df",
            "1342585148f0b0a1dd589aad9dcbd2f6182031bb11497e43f5d4037bf05115f5",
        ],
    ),
    (
        2,
        Start::Copysets(10),
        [
            "c103a739a7dc4914c4b5b3c1d7d1178c973a09a56e1743869daec0e9fca8bdee",
            "2ee9914ee99f7ce0c02d707d86d99ff4d0d5ddc96bfc1b67ab496c79bc4b73df",
            "d28e87e993128da2b558493723a881fbd66a29ffa169d2d8fe9fa5845bac1de9",
        ],
    ),
];

#[test]
fn clusters_are_those_of_the_benchmark() {
    for (seed, start, expected) in FILES {
        let files = generate(Scale::S, seed, start).csv();
        for (file, expected) in files.iter().zip(expected) {
            let digest: String = Sha256::digest(file).iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(digest, expected, "seed {seed}, {start:?}: {}", file.lines().next().unwrap());
        }
    }
}

#[test]
fn a_larger_cluster_is_that_of_the_benchmark_too() {
    let files = generate(Scale::M, 1, Start::Random).csv();
    let digest: String = Sha256::digest(&files[2]).iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(digest, "be83786b194c0fcde34b9806ef4dc5e9869c71f057facbe26a8df7ace005a3bc");
}

#[test]
fn events_are_those_of_the_benchmark() {
    // events.json of `gen.py S 1 DIR`.
    let events = of_benchmark(&generate(Scale::S, 1, Start::Random));
    let expected = [
        ("fail1", Event::Fail(vec![8])),
        ("drain1", Event::Drain(vec![8])),
        ("add1", Event::Add(vec![(0, 2.0)])),
        ("weight1", Event::SetCapacity(8, 1.0)),
        ("fail3", Event::Fail(vec![5, 16, 29])),
    ];
    assert_eq!(events, expected);
}
