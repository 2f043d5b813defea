//! Conditions and updates as DynamoDB's expressions. Names and values always go by placeholders: a name may be a
//! reserved word, and neither is ever parsed.

use std::collections::{BTreeSet, HashMap};

use aws_sdk_dynamodb::types::AttributeValue;

use super::{
    super::{Check, Condition, Table, Update},
    value::{Attributes, attribute, number_attribute},
};

/// Collects the placeholders of one request.
#[derive(Debug, Default)]
pub(super) struct Placeholders {
    names: Vec<String>,
    values: Vec<AttributeValue>,
}

impl Placeholders {
    /// Returns the placeholder of a name; the same one for the same name.
    pub(super) fn name(&mut self, name: &str) -> String {
        let known = self.names.iter().position(|known| known == name);
        let at = known.unwrap_or_else(|| {
            self.names.push(name.to_owned());
            self.names.len() - 1
        });
        format!("#{at}")
    }

    /// Returns the placeholder of a value.
    pub(super) fn value(&mut self, value: AttributeValue) -> String {
        self.values.push(value);
        format!(":{}", self.values.len() - 1)
    }

    /// Returns the names for the request; `None` where there are none, since an empty map is refused.
    pub(super) fn names(&self) -> Option<HashMap<String, String>> {
        let named = self.names.iter().enumerate().map(|(at, name)| (format!("#{at}"), name.clone()));
        (!self.names.is_empty()).then(|| named.collect())
    }

    /// Returns the values for the request; `None` where there are none.
    pub(super) fn into_values(self) -> Option<Attributes> {
        let named = self.values.into_iter().enumerate().map(|(at, value)| (format!(":{at}"), value));
        Some(named.collect::<Attributes>()).filter(|values| !values.is_empty())
    }
}

/// Returns a condition as an expression; `None` where anything goes.
pub(super) fn condition(table: Table, condition: Condition, places: &mut Placeholders) -> Option<String> {
    let checks = condition.0.into_iter().map(|one| check(table, one, places));
    joined(checks.collect(), " AND ")
}

/// Returns a condition on an update. DynamoDB's numbers have 38 digits, ours 64 bits: an addition that would leave them
/// is part of what must not be.
pub(super) fn update_condition(
    table: Table,
    user: Condition,
    update: &Update,
    places: &mut Placeholders,
) -> Option<String> {
    let mut all: Vec<String> = condition(table, user, places).into_iter().collect();
    for (name, amount) in update.add.iter().filter(|(_, amount)| *amount != 0) {
        let name = places.name(name);
        // A comparison with what is absent, or no number, is false.
        let (beyond, bound) = match *amount > 0 {
            true => (">", i64::MAX - amount),
            false => ("<", i64::MIN - amount),
        };
        let bound = places.value(number_attribute(bound));
        all.push(format!("NOT ({name} {beyond} {bound})"));
    }
    joined(all, " AND ")
}

/// Returns an update as an expression; `None` where it changes nothing (and makes the item if it is absent).
pub(super) fn update(update: Update, places: &mut Placeholders) -> Option<String> {
    let Update { set, add, insert, remove } = update;
    let set = set.into_iter().map(|(name, value)| {
        let (name, value) = (places.name(&name), places.value(attribute(value)));
        format!("{name} = {value}")
    });
    let set = joined(set.collect(), ", ").map(|list| format!("SET {list}"));
    let mut additions = Vec::new();
    for (name, amount) in add {
        let (name, amount) = (places.name(&name), places.value(number_attribute(amount)));
        additions.push(format!("{name} {amount}"));
    }
    for (name, members) in insert {
        let (name, members) = (places.name(&name), places.value(set_attribute(members)));
        additions.push(format!("{name} {members}"));
    }
    let add = joined(additions, ", ").map(|list| format!("ADD {list}"));
    let remove = remove.iter().map(|name| places.name(name)).collect();
    let remove = joined(remove, ", ").map(|list| format!("REMOVE {list}"));
    joined([set, add, remove].into_iter().flatten().collect(), " ")
}

fn check(table: Table, check: Check, places: &mut Placeholders) -> String {
    match check {
        Check::Exists => format!("attribute_exists({})", places.name(table.partition_attribute())),
        Check::Absent => format!("attribute_not_exists({})", places.name(table.partition_attribute())),
        Check::Equals(name, value) => {
            let (name, value) = (places.name(&name), places.value(attribute(value)));
            format!("{name} = {value}")
        }
        Check::Lacks(name) => format!("attribute_not_exists({})", places.name(&name)),
        Check::Less(name, bound) => {
            let (name, bound) = (places.name(&name), places.value(number_attribute(bound)));
            format!("{name} < {bound}")
        }
    }
}

fn set_attribute(members: BTreeSet<String>) -> AttributeValue {
    AttributeValue::Ss(members.into_iter().collect())
}

fn joined(parts: Vec<String>, between: &str) -> Option<String> {
    (!parts.is_empty()).then(|| parts.join(between))
}

#[cfg(test)]
mod tests {
    use super::{super::super::Value, *};

    #[test]
    fn every_clause_goes_by_placeholders() {
        let mut places = Placeholders::default();
        let wanted = Update {
            set: vec![("name".into(), Value::Text("x".into())), ("size".into(), Value::Number(1))],
            add: vec![("count".into(), -2)],
            insert: vec![("dead".into(), ["a".to_owned()].into())],
            remove: vec!["old".into(), "older".into()],
        };
        let guard = Condition(vec![Check::Exists, Check::Equals("name".into(), Value::Text("y".into()))]);
        let condition = update_condition(Table::Folder, guard, &wanted, &mut places).unwrap();
        assert_eq!(condition, "attribute_exists(#0) AND #1 = :0 AND NOT (#2 < :1)");
        let update = update(wanted, &mut places).unwrap();
        assert_eq!(update, "SET #1 = :2, #3 = :3 ADD #2 :4, #4 :5 REMOVE #5, #6");
        let names = places.names().unwrap();
        assert_eq!((names["#0"].as_str(), names["#1"].as_str()), ("mailbox", "name"));
        let values = places.into_values().unwrap();
        assert_eq!(values[":1"], AttributeValue::N((i64::MIN + 2).to_string()));
        assert_eq!(values.len(), 6);
    }

    #[test]
    fn nothing_makes_no_expression() {
        let mut places = Placeholders::default();
        assert_eq!(condition(Table::User, Condition::default(), &mut places), None);
        assert_eq!(update(Update::default(), &mut places), None);
        assert_eq!((places.names(), places.into_values()), (None, None));
    }
}
