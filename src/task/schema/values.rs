//! JSON values beside each other: 1 and 1.0 are the same number.

use std::cmp::Ordering;

use serde_json::{Number, Value};

/// Whether two values are the same.
pub(super) fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => compare(a, b) == Some(Ordering::Equal),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| same(a, b)))
        }
        _ => a == b,
    }
}

/// Whole numbers exactly, others as floating-point numbers.
pub(super) fn compare(a: &Number, b: &Number) -> Option<Ordering> {
    match (whole(a), whole(b)) {
        (Some(a), Some(b)) => Some(a.cmp(&b)),
        _ => a.as_f64()?.partial_cmp(&b.as_f64()?),
    }
}

/// Whether `n` is a multiple of `of`, which is above zero; 0.3 is one of 0.1.
pub(super) fn is_multiple(n: &Number, of: &Number) -> bool {
    if let (Some(n), Some(of)) = (whole(n), whole(of)) {
        return of != 0 && n % of == 0;
    }
    let times = n.as_f64().unwrap_or(f64::NAN) / of.as_f64().unwrap_or(f64::NAN);
    times.is_finite() && (times - times.round()).abs() <= 1e-9 * times.abs().max(1.0)
}

fn whole(n: &Number) -> Option<i128> {
    n.as_i64().map(i128::from).or_else(|| n.as_u64().map(i128::from))
}

/// Whether all items differ. In the usual case each is looked up once.
pub(super) fn all_differ(items: &[Value]) -> bool {
    let mut keys: Vec<String> = items.iter().map(canonical).collect();
    keys.sort_unstable();
    keys.windows(2).all(|pair| pair[0] != pair[1])
}

/// A text that is the same for the same values, and only for these.
fn canonical(value: &Value) -> String {
    match value {
        Value::Number(n) => match (whole(n), n.as_f64()) {
            (Some(n), _) => n.to_string(),
            // A whole number that came as 1.0 is written as 1.
            (None, Some(x)) if x.fract() == 0.0 && x.abs() < 1e18 => format!("{}", x as i128),
            _ => n.to_string(),
        },
        Value::Array(items) => format!("[{}]", items.iter().map(canonical).collect::<Vec<_>>().join(",")),
        Value::Object(entries) => {
            let mut parts: Vec<String> = entries
                .iter()
                .map(|(key, value)| format!("{}:{}", Value::String(key.clone()), canonical(value)))
                .collect();
            parts.sort_unstable();
            format!("{{{}}}", parts.join(","))
        }
        other => other.to_string(),
    }
}
