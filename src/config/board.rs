//! What cannot work of `[board]`.

use super::schema::Board;

/// Key and what is wrong with it.
pub(super) fn problems(board: &Board) -> Vec<(&'static str, String)> {
    let mut wrong = Vec::new();
    let heat = [
        ("board.warm_c", board.warm_c),
        ("board.hot_c", board.hot_c),
        ("board.critical_c", board.critical_c),
    ];
    let set: Vec<_> = heat.into_iter().filter_map(|(key, celsius)| Some((key, celsius?))).collect();
    for (key, celsius) in &set {
        if !(30.0..=150.0).contains(celsius) {
            wrong.push((*key, format!("is {celsius}, expected 30 to 150 degrees Celsius")));
        }
    }
    for pair in set.windows(2) {
        let ((lower_key, lower), (key, celsius)) = (pair[0], pair[1]);
        if celsius.is_finite() && lower.is_finite() && celsius <= lower {
            wrong.push((key, format!("is {celsius}, expected more than the {lower} of `{lower_key}`")));
        }
    }
    wrong
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn temperatures_are_told_when_they_are_absurd_or_in_the_wrong_order() {
        let of = |warm_c, hot_c, critical_c| {
            let problems = problems(&Board { warm_c, hot_c, critical_c, ..Board::default() });
            problems.into_iter().map(|(key, why)| format!("{key} {why}")).collect::<Vec<_>>()
        };
        assert_eq!(of(None, None, None), [""; 0]);
        assert_eq!(of(Some(60.0), Some(70.0), Some(80.0)), [""; 0]);
        assert_eq!(of(Some(60.0), None, Some(80.0)), [""; 0]);
        assert_eq!(
            of(Some(70.0), Some(70.0), Some(65.0)),
            [
                "board.hot_c is 70, expected more than the 70 of `board.warm_c`",
                "board.critical_c is 65, expected more than the 70 of `board.hot_c`",
            ]
        );
        assert_eq!(
            of(Some(70.0), None, Some(65.0)),
            ["board.critical_c is 65, expected more than the 70 of `board.warm_c`"]
        );
        assert_eq!(of(Some(20.0), None, Some(f32::NAN)).len(), 2);
    }
}
