//! Where Python's strings and `json.dumps` differ from Rust's, as far as templates can tell.
//!
//! Templates are written for transformers, where filters and methods are Python's. Most are
//! covered by minijinja and its `pycompat`; here is what would otherwise change a prompt.

use std::fmt::Write;

use minijinja::{
    Error, ErrorKind, Output, State, Value, escape_formatter,
    value::{Kwargs, ValueKind, from_args},
};
use minijinja_contrib::pycompat;

use crate::domain::limits;

/// Bytes of JSON that cost one step of the template's fuel, as minijinja counts its own.
const BYTES_PER_FUEL: usize = 64;

/// Whether Python's `str.strip()` takes `c` away: Unicode's white space, and the four
/// separators of ASCII.
pub(super) fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

/// Writes a value into the prompt as Python's `str()` does. Floats within lists are left to
/// minijinja, which writes the very large and very small ones differently.
pub(super) fn write(out: &mut Output<'_>, state: &mut State, value: &Value) -> Result<(), Error> {
    match f64::try_from(value.clone()) {
        Ok(x) if value.is_number() && !value.is_integer() && x.is_finite() => {
            out.write_str(&float(x)).map_err(Error::from)
        }
        _ => escape_formatter(out, state, value),
    }
}

/// Methods on values: Python's rules first, then what `pycompat` knows.
pub(super) fn method(state: &mut State, value: &Value, name: &str, args: &[Value]) -> Result<Value, Error> {
    let Some(text) = value.as_str() else {
        return pycompat::unknown_method_callback(state, value, name, args);
    };
    match (name, args) {
        ("strip", []) => Ok(Value::from(text.trim_matches(is_space))),
        ("lstrip", []) => Ok(Value::from(text.trim_start_matches(is_space))),
        ("rstrip", []) => Ok(Value::from(text.trim_end_matches(is_space))),
        ("split", []) => Ok(text.split(is_space).filter(|part| !part.is_empty()).map(Value::from).collect()),
        ("rsplit", _) => rsplit(text, args),
        ("replace" | "join" | "format", _) => bounded(state, value, text, name, args),
        ("title", []) => Ok(Value::from(title(text))),
        ("removeprefix", _) => {
            let (prefix,): (&str,) = from_args(args)?;
            Ok(Value::from(text.strip_prefix(prefix).unwrap_or(text)))
        }
        ("removesuffix", _) => {
            let (suffix,): (&str,) = from_args(args)?;
            Ok(Value::from(text.strip_suffix(suffix).unwrap_or(text)))
        }
        _ => pycompat::unknown_method_callback(state, value, name, args),
    }
}

/// The methods that can make much of little; minijinja counts their result only once it is
/// there.
fn bounded(state: &mut State, value: &Value, text: &str, name: &str, args: &[Value]) -> Result<Value, Error> {
    let length = |value: &Value| value.as_str().map_or(0, str::len);
    let bytes = match (name, args) {
        ("replace", [old, new, ..]) => {
            let found = old.as_str().map_or(0, |old| text.matches(old).count());
            found.saturating_mul(length(new))
        }
        ("join", [items]) => items.len().unwrap_or(0).saturating_mul(text.len()),
        // A width: digits within the text.
        ("format", _) => {
            let widths = text.split(|c: char| !c.is_ascii_digit()).filter(|digits| !digits.is_empty());
            widths.map(|digits| digits.parse::<usize>().unwrap_or(usize::MAX)).fold(0, usize::saturating_add)
        }
        _ => 0,
    };
    state.consume_fuel((bytes / BYTES_PER_FUEL) as u64)?;
    if bytes > limits::PROMPT_BYTES_MAX {
        return Err(Error::new(ErrorKind::InvalidOperation, format!("`{name}` makes too long a text")));
    }
    pycompat::unknown_method_callback(state, value, name, args)
}

fn rsplit(text: &str, args: &[Value]) -> Result<Value, Error> {
    let (separator, splits_max): (&str, Option<i64>) = from_args(args)?;
    if separator.is_empty() {
        return Err(Error::new(ErrorKind::InvalidOperation, "empty separator"));
    }
    let parts_max = splits_max.filter(|n| *n >= 0).map_or(usize::MAX, |n| n as usize + 1);
    let mut parts: Vec<_> = text.rsplitn(parts_max, separator).map(Value::from).collect();
    parts.reverse();
    Ok(Value::from(parts))
}

/// Letters that follow no letter in upper case, the others in lower case.
fn title(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut within = false;
    for c in text.chars() {
        let mut upper = c.to_uppercase();
        if within {
            out.extend(c.to_lowercase());
        } else {
            out.extend(upper.next());
            out.extend(upper.flat_map(char::to_lowercase));
        }
        within = c.is_lowercase() || c.is_uppercase();
    }
    out
}

/// The filter `trim`, which is `str.strip()`.
pub(super) fn trim(value: &Value, chars: Option<&str>) -> String {
    let text = value.to_string();
    match chars {
        Some(chars) => text.trim_matches(|c| chars.contains(c)),
        None => text.trim_matches(is_space),
    }
    .to_owned()
}

/// The filter `tojson` of transformers: `json.dumps` with `ensure_ascii=False`.
#[allow(clippy::needless_pass_by_value, reason = "minijinja hands filters their own keyword arguments")]
pub(super) fn tojson(
    state: &State,
    value: &Value,
    ensure_ascii: Option<bool>,
    indent: Option<Value>,
    kwargs: Kwargs,
) -> Result<String, Error> {
    let ensure_ascii = ensure_ascii.or(kwargs.get("ensure_ascii")?).unwrap_or(false);
    let indent = indent.or(kwargs.get("indent")?).filter(|indent| !indent.is_none());
    let indent = indent.map(|indent| match indent.as_str() {
        Some(text) => Ok(text.to_owned()),
        None => i64::try_from(indent).map(|n| " ".repeat(n.clamp(0, 64) as usize)),
    });
    let indent = indent.transpose()?;
    let separators: Option<Value> = kwargs.get("separators")?;
    let (item, key) = match separators.filter(|separators| !separators.is_none()) {
        Some(pair) => (pair.get_item_by_index(0)?.to_string(), pair.get_item_by_index(1)?.to_string()),
        None if indent.is_some() => (",".to_owned(), ": ".to_owned()),
        None => (", ".to_owned(), ": ".to_owned()),
    };
    let sort_keys = kwargs.get::<Option<bool>>("sort_keys")?.unwrap_or(false);
    kwargs.assert_all_used()?;
    let mut dump = Dump { state, out: String::new(), charged: 0, ensure_ascii, indent, item, key, sort_keys };
    dump.value(value, 0)?;
    dump.charge()?;
    Ok(dump.out)
}

struct Dump<'a, 'b, 'c> {
    state: &'a State<'b, 'c>,
    out: String,
    /// Bytes of `out` that fuel was paid for.
    charged: usize,
    ensure_ascii: bool,
    indent: Option<String>,
    item: String,
    key: String,
    sort_keys: bool,
}

impl Dump<'_, '_, '_> {
    fn value(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        if depth > limits::JSON_DEPTH_MAX {
            return Err(Error::new(ErrorKind::InvalidOperation, "tojson: nested too deep"));
        }
        self.charge()?;
        match value.kind() {
            ValueKind::None => self.out.push_str("null"),
            ValueKind::Bool => self.out.push_str(if value.is_true() { "true" } else { "false" }),
            ValueKind::Number => self.out.push_str(&number(value)?),
            ValueKind::String => self.text(value.as_str().unwrap_or_default()),
            ValueKind::Seq => {
                let items: Vec<Value> = value.try_iter()?.collect();
                self.list(depth, ('[', ']'), &items, |dump, item| dump.value(item, depth + 1))?;
            }
            ValueKind::Map => {
                let mut entries = Vec::new();
                for name in value.try_iter()? {
                    entries.push((key_text(&name)?, value.get_item(&name)?));
                }
                if self.sort_keys {
                    entries.sort_by(|a, b| a.0.cmp(&b.0));
                }
                self.list(depth, ('{', '}'), &entries, |dump, (name, value)| {
                    dump.text(name);
                    let separator = dump.key.clone();
                    dump.out.push_str(&separator);
                    dump.value(value, depth + 1)
                })?;
            }
            other => {
                return Err(Error::new(ErrorKind::BadSerialization, format!("tojson: {other} is not JSON")));
            }
        }
        Ok(())
    }

    fn list<T>(
        &mut self,
        depth: usize,
        (open, close): (char, char),
        items: &[T],
        mut one: impl FnMut(&mut Self, &T) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.out.push(open);
        for (index, item) in items.iter().enumerate() {
            if index > 0 {
                let separator = self.item.clone();
                self.out.push_str(&separator);
            }
            self.line(depth + 1);
            one(self, item)?;
        }
        if !items.is_empty() {
            self.line(depth);
        }
        self.out.push(close);
        Ok(())
    }

    fn line(&mut self, depth: usize) {
        if let Some(indent) = &self.indent {
            self.out.push('\n');
            self.out.extend(std::iter::repeat_n(indent.as_str(), depth));
        }
    }

    fn text(&mut self, text: &str) {
        self.out.push('"');
        for c in text.chars() {
            match c {
                '"' => self.out.push_str("\\\""),
                '\\' => self.out.push_str("\\\\"),
                '\n' => self.out.push_str("\\n"),
                '\r' => self.out.push_str("\\r"),
                '\t' => self.out.push_str("\\t"),
                '\u{8}' => self.out.push_str("\\b"),
                '\u{c}' => self.out.push_str("\\f"),
                c if c < ' ' || self.ensure_ascii && c > '~' => {
                    for unit in c.encode_utf16(&mut [0; 2]) {
                        // Writing to a string cannot fail.
                        let _ = write!(self.out, "\\u{unit:04x}");
                    }
                }
                c => self.out.push(c),
            }
        }
        self.out.push('"');
    }

    fn charge(&mut self) -> Result<(), Error> {
        let due = (self.out.len() - self.charged) / BYTES_PER_FUEL;
        self.charged += due * BYTES_PER_FUEL;
        self.state.consume_fuel(1 + due as u64)
    }
}

/// A dictionary's key as `json.dumps` writes it.
fn key_text(key: &Value) -> Result<String, Error> {
    match key.kind() {
        ValueKind::String => Ok(key.to_string()),
        ValueKind::None => Ok("null".to_owned()),
        ValueKind::Bool => Ok(if key.is_true() { "true" } else { "false" }.to_owned()),
        ValueKind::Number => number(key),
        other => Err(Error::new(ErrorKind::BadSerialization, format!("tojson: a key is {other}"))),
    }
}

fn number(value: &Value) -> Result<String, Error> {
    if value.is_integer() { Ok(value.to_string()) } else { f64::try_from(value.clone()).map(float) }
}

/// Python's `repr` of a float: shortest digits, an exponent from 1e16 on and below 1e-4.
pub(super) fn float(x: f64) -> String {
    if x.is_nan() {
        return "NaN".to_owned();
    }
    if x.is_infinite() {
        return if x > 0.0 { "Infinity" } else { "-Infinity" }.to_owned();
    }
    let scientific = format!("{x:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    match exponent.parse().unwrap_or(0) {
        exponent @ (..-4 | 16..) => {
            let sign = if exponent < 0 { '-' } else { '+' };
            format!("{digits}e{sign}{:02}", i32::abs(exponent))
        }
        _ => format!("{x:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_are_written_as_python_does() {
        let cases = [
            (0.1, "0.1"),
            (1.0, "1.0"),
            (-0.0, "-0.0"),
            (1e15, "1000000000000000.0"),
            (1e16, "1e+16"),
            (1.5e300, "1.5e+300"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (-2.5e-10, "-2.5e-10"),
            (123_456.789, "123456.789"),
        ];
        for (x, expected) in cases {
            assert_eq!(float(x), expected);
        }
    }

    #[test]
    fn titles_are_in_pythons_case() {
        assert_eq!(title("they're ﬁne, x2y ÉCOLE"), "They'Re Fine, X2Y École");
    }
}
