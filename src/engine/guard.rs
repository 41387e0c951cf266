//! Logits that no language model gives: the sign of an accelerator that has gone wrong.

/// What is wrong with the logits of one token, if anything. Minus infinity is not: some models
/// rule tokens out with it.
pub(super) fn senseless(logits: &[f32]) -> Option<&'static str> {
    let (mut low, mut high, mut numbers) = (f32::INFINITY, f32::NEG_INFINITY, true);
    for logit in logits {
        numbers &= *logit < f32::INFINITY;
        low = low.min(*logit);
        high = high.max(*logit);
    }
    match numbers {
        false => Some("it gave logits that are not numbers"),
        true if low >= high => Some("it gave every token the same logit"),
        true => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_logits_is_known() {
        assert_eq!(senseless(&[0.0, 1.0, f32::NEG_INFINITY]), None);
        assert!(senseless(&[1.0, f32::NAN, 2.0]).unwrap().contains("not numbers"));
        assert!(senseless(&[1.0, f32::INFINITY]).unwrap().contains("not numbers"));
        assert!(senseless(&[7.5; 9]).unwrap().contains("the same"));
        assert!(senseless(&[f32::NEG_INFINITY; 3]).unwrap().contains("the same"));
    }
}
