//! An event on its way to being frozen: its members, found by field.

use std::borrow::Cow;

use crate::field::Field;
use crate::object::Object;
use crate::{Kind, Refusal, Warning, What, profile_is_valid, text};

/// Members that route an event and belong to lines. Never sent.
const ROUTING: [Field; 5] = [Field::Kind, Field::Profile, Field::N, Field::Hello, Field::Call];

/// An event whose members have been recognised. Every field has at most one member.
#[derive(Debug)]
pub(crate) struct Draft<'a> {
    pub(crate) kind: Kind,
    pub(crate) profile: Option<String>,
    pub(crate) object: Object<'a>,
    pub(crate) warnings: Vec<Warning>,
    /// For each field one more than the place of its member; 0 if it has none.
    places: [u16; Field::COUNT],
}

impl<'a> Draft<'a> {
    /// Reads an event and recognises its members. Without a `kind` its own members route it, and are
    /// taken out; with one, members of these names are the sender's and no concern of ours.
    pub(crate) fn read(source: &'a str, kind: Option<Kind>) -> Result<Draft<'a>, Refusal> {
        let object = Object::read(source)?;
        let mut spelled: Vec<_> = object.members.iter().map(|member| spelled(member.key)).collect();
        let is_routed = kind.is_some();
        if is_routed {
            let is_ours = |field: &Option<Field>| field.is_some_and(|field| ROUTING.contains(&field));
            spelled.iter_mut().filter(|field| is_ours(field)).for_each(|field| *field = None);
        }
        let at = spelled.iter().position(|&field| field == Some(Field::Kind));
        let said = |at: usize| self::kind(&object.members[at].value);
        let kind = kind.map_or_else(|| at.map_or(Ok(Kind::Completion), said), Ok)?;
        let places = [0; Field::COUNT];
        let mut draft = Draft { kind, profile: None, object, warnings: Vec::new(), places };
        for (at, field) in spelled.into_iter().enumerate() {
            if let Some(field) = field.and_then(|field| field.meant(kind)) {
                draft.recognise(at, field)?;
            }
        }
        if !is_routed {
            draft.route()?;
        }
        Ok(draft)
    }

    /// Notes that member `at` is `field`. Another spelling than the wire's gives way to it when the
    /// two agree or one is blank; when they differ, or one spelling comes twice, no one can say
    /// which amount counts, so the event is refused.
    fn recognise(&mut self, at: usize, field: Field) -> Result<(), Refusal> {
        let member = &self.object.members[at];
        let is_wire = member.came_as(field.name());
        if !is_wire && text::is_blank(&member.value) {
            self.object.cut(at);
            return Ok(());
        }
        if let Some(other) = self.place(field) {
            let other_member = &self.object.members[other];
            if member.key == other_member.key {
                let message = format!("{} is given twice; send it once", field.name());
                return Err(Refusal::field(field.name(), message));
            }
            let agree = member.value == other_member.value;
            if text::is_blank(&member.value) || agree {
                self.object.cut(at);
                return Ok(());
            }
            if !agree && !text::is_blank(&other_member.value) {
                let message =
                    format!("{} is given under two names with different values; send one", field.name());
                return Err(Refusal::field(field.name(), message));
            }
            self.object.cut(other);
        }
        self.put(field, at);
        if !is_wire {
            self.object.rename(at, field.name());
        }
        Ok(())
    }

    /// Cuts out `kind` and `profile`, and refuses what belongs to lines and later releases.
    fn route(&mut self) -> Result<(), Refusal> {
        let reserved = [
            (Field::N, "n numbers a line and stands once, at its top; send it unescaped"),
            (Field::Hello, "hello is a line of its own, the first one"),
            (
                Field::Call,
                "call must be an object, the facts of one call; send it unescaped, or the event's own members",
            ),
        ];
        for (field, message) in reserved {
            if self.place(field).is_some() {
                return Err(Refusal::field(field.name(), message));
            }
        }
        if let Some(raw) = self.raw(Field::Profile).filter(|raw| *raw != "null") {
            let name = text::decode(raw).filter(|name| profile_is_valid(name));
            self.profile = Some(name.ok_or_else(|| Refusal::profile("profile"))?.into_owned());
        }
        self.cut(Field::Kind);
        self.cut(Field::Profile);
        Ok(())
    }

    /// Where the field's member is, if it has one that is not cut.
    pub(crate) fn place(&self, field: Field) -> Option<usize> {
        let at = usize::from(self.places[field as usize].checked_sub(1)?);
        (!self.object.members[at].is_cut).then_some(at)
    }

    /// Makes member `at` the field's.
    pub(crate) fn put(&mut self, field: Field, at: usize) {
        self.places[field as usize] = u16::try_from(at + 1).expect("twice MEMBERS_MAX fits 16 bits");
    }

    /// The field's raw value, null included.
    pub(crate) fn raw(&self, field: Field) -> Option<&str> {
        self.place(field).map(|at| &*self.object.members[at].value)
    }

    /// The field's raw value, if it says something.
    pub(crate) fn said(&self, field: Field) -> Option<&str> {
        self.raw(field).filter(|raw| !text::is_blank(raw))
    }

    /// Gives the field a value: in its place if it has or had one, else at the end.
    pub(crate) fn set(&mut self, field: Field, value: impl Into<Cow<'a, str>>) {
        match self.places[field as usize].checked_sub(1) {
            Some(at) => self.object.set(usize::from(at), value),
            None => {
                let at = self.object.push_named(field.name(), value);
                self.put(field, at);
            }
        }
    }

    /// Leaves the field out.
    pub(crate) fn cut(&mut self, field: Field) {
        if let Some(at) = self.place(field) {
            self.object.cut(at);
        }
    }

    /// Leaves the field out and hands over its raw value.
    pub(crate) fn take(&mut self, field: Field) -> Option<Cow<'a, str>> {
        let at = self.place(field)?;
        self.object.cut(at);
        Some(self.object.members[at].value.clone())
    }

    /// Notes what was done to a field.
    pub(crate) fn warn(&mut self, field: &'static str, what: What) {
        self.warnings.push(Warning { field, what });
    }
}

/// The field that a raw key spells.
pub(crate) fn spelled(key: &str) -> Option<Field> {
    match text::inner(key)? {
        name if name.contains('\\') => Field::spelled(&text::decode(key)?),
        name => Field::spelled(name),
    }
}

fn kind(raw: &str) -> Result<Kind, Refusal> {
    if raw == "null" {
        return Ok(Kind::Completion);
    }
    text::decode(raw).and_then(|name| Kind::from_name(&name)).ok_or_else(|| {
        let names = Kind::ALL.map(Kind::name).join(", ");
        Refusal::field(
            "kind",
            format!("kind is not known; send one of {names}, or leave it out for completion"),
        )
    })
}
