//! What the compiler says to a newcomer. The messages are part of the interface.

/// `TRYBUILD=overwrite` writes the messages anew.
#[test]
fn the_mistakes_of_a_newcomer_compile_to_advice() {
    trybuild::TestCases::new().compile_fail("tests/ui/*.rs");
}
