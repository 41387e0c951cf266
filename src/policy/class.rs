//! The operator's data classes, from most open to most restricted.

/// How restricted something is; a greater one is more restricted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Class(usize);

/// The classes that there are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Classes(pub(super) Vec<String>);

impl Classes {
    /// The class with this name; the most restricted one when there is no such class, and for
    /// what has none.
    pub fn of(&self, name: Option<&str>) -> Class {
        let known = name.and_then(|name| self.0.iter().position(|class| class == name));
        Class(known.unwrap_or(self.0.len().saturating_sub(1)))
    }

    /// The class that counts: the operator's, unless the request's own label is more restricted.
    /// A label never loosens.
    pub fn effective(&self, operators: Option<&str>, label: Option<&str>) -> Class {
        let class = self.of(operators);
        label.map_or(class, |label| class.max(self.of(Some(label))))
    }

    /// Its name.
    pub fn name(&self, class: Class) -> &str {
        self.0.get(class.0).map_or("restricted", String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn classes() -> Classes {
        Classes(["public", "internal", "restricted"].map(Into::into).into())
    }

    #[test]
    fn what_has_no_class_or_an_unknown_one_is_most_restricted() {
        let classes = classes();
        assert_eq!(classes.name(classes.of(None)), "restricted");
        assert_eq!(classes.name(classes.of(Some("Public"))), "restricted");
        assert_eq!(classes.name(classes.of(Some("internal"))), "internal");
        assert_eq!(Classes::default().name(Classes::default().of(None)), "restricted");
    }

    #[test]
    fn a_label_only_tightens() {
        let classes = classes();
        let name = |operators, label| classes.name(classes.effective(operators, label)).to_owned();
        assert_eq!(name(Some("public"), Some("internal")), "internal");
        assert_eq!(name(Some("internal"), Some("public")), "internal");
        assert_eq!(name(None, Some("public")), "restricted");
        assert_eq!(name(Some("public"), None), "public");
        assert_eq!(name(Some("public"), Some("secret?")), "restricted");
    }
}
