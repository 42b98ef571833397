//! What is known of a type between the passes of a walk: its nodes, and which way to go next.
//!
//! Owns the samples, and the choice among an enum's variants. Reading is `trace`'s.

use super::Stop;
use crate::codec::schema::Schema;

const MAX_NODES: usize = 10_000;

/// Texts that types with a form of their own take: identifiers, times, addresses.
pub(super) const TEXTS: &[&str] = &[
    "",
    "a",
    "0",
    "1970-01-01",
    "1970-01-01T00:00:00Z",
    "1970-01-01T00:00:00",
    "00:00:00",
    "UTC",
    "00000000-0000-0000-0000-000000000000",
    "127.0.0.1",
    "::1",
    "127.0.0.1:80",
    "http://a/",
    "a@b.cd",
    "0.0.0",
    "EUR",
    "true",
];
pub(super) const LENGTHS: &[usize] = &[0, 1, 2, 4, 8, 12, 16, 20, 24, 32, 64];
pub(super) static ZEROS: [u8; 64] = [0; 64];

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Kind {
    #[default]
    Blank,
    Word(&'static str),
    Option,
    Seq,
    Map,
    Tuple,
    Array(usize),
    Struct(&'static str, &'static [&'static str]),
    TupleStruct(&'static str),
    Enum(&'static str),
    Again(&'static str),
}

/// A place in the type.
#[derive(Clone, Debug, Default)]
pub(super) struct Node {
    pub(super) kind: Kind,
    /// Indices of further nodes; at an enum, of its variants.
    pub(super) children: Vec<usize>,
    pub(super) sample: usize,
    /// When its value was first read to the end, counted in such events.
    pub(super) ended: Option<usize>,
    /// For a variant: not to be chosen any more, or not before another value has been read to its end.
    pub(super) given_up: bool,
    pub(super) put_off: Option<usize>,
    /// It was in a sample: of an option, a sequence or a map, it was empty there; a variant was chosen.
    pub(super) swept: bool,
}

/// A type by its name and its identity within this build.
pub(super) type TypeKey = (&'static str, &'static str);

#[derive(Debug, Default)]
pub(super) struct Tracer {
    pub(super) nodes: Vec<Node>,
    /// Named types that are being read, outermost first.
    pub(super) open: Vec<(TypeKey, usize)>,
    /// Variants that are being read, outermost first.
    pub(super) variants: Vec<usize>,
    /// Where a sample was given last.
    pub(super) last: usize,
    /// Whether anything was learned in this pass.
    pub(super) changed: bool,
    pub(super) ends: usize,
    pub(super) depth: usize,
    /// Whether there is a map that may keep an order.
    pub(super) other_maps: bool,
    /// All is known: samples are wanted, with as little in them as can be.
    pub(super) sweeping: bool,
}

impl Tracer {
    pub(super) fn begin(&mut self) {
        self.open.clear();
        self.variants.clear();
        self.changed = false;
        self.depth = 0;
    }

    /// The node is of this kind, with so many children.
    pub(super) fn enter(&mut self, node: usize, kind: Kind, children: usize) -> Result<(), Stop> {
        if self.nodes[node].kind == kind {
            return Ok(());
        }
        // A type that asks for one thing now and for another then cannot be described.
        if self.nodes[node].kind != Kind::Blank || self.nodes.len() + children > MAX_NODES {
            return Err(Stop::Refused);
        }
        let first = self.nodes.len();
        self.nodes.extend((0..children).map(|_| Node::default()));
        self.nodes[node].kind = kind;
        self.nodes[node].children = (first..first + children).collect();
        self.changed = true;
        Ok(())
    }

    pub(super) fn ended(&mut self, node: usize) {
        if self.nodes[node].ended.is_none() {
            self.nodes[node].ended = Some(self.ends);
            self.ends += 1;
            self.changed = true;
        }
    }

    pub(super) fn is_done(&self, node: usize) -> bool {
        let Node { kind, children, ended, given_up, .. } = &self.nodes[node];
        match kind {
            Kind::Blank => *given_up,
            Kind::Again(_) => true,
            _ if *given_up => true,
            _ => ended.is_some() && children.iter().all(|&child| self.is_done(child)),
        }
    }

    /// The variant to read next: one that is not known yet, else the first that could be read.
    pub(super) fn choose(&mut self, node: usize) -> Option<usize> {
        if self.sweeping {
            return self.sweep_variant(node);
        }
        let variants = &self.nodes[node].children;
        let wanted = |&(_, &v): &(usize, &usize)| {
            !self.is_done(v) && self.nodes[v].put_off != Some(self.ends)
        };
        let next = variants.iter().enumerate().find(wanted).map(|(i, _)| i);
        next.or_else(|| self.first_ended(node))
    }

    pub(super) fn first_ended(&self, node: usize) -> Option<usize> {
        let variants = self.nodes[node].children.iter().enumerate();
        let ended = variants.filter_map(|(i, &v)| Some((self.nodes[v].ended?, i)));
        ended.min().map(|(_, i)| i)
    }

    /// Of an option, a sequence or a map in a sample: whether to leave it empty, once all within it was in one.
    pub(super) fn sweep_empty(&mut self, node: usize) -> bool {
        if !self.nodes[node].children.iter().all(|&child| self.is_swept(child)) {
            return false;
        }
        self.sweep(node);
        // It may not take being empty.
        self.nodes[node].sample == 0
    }

    /// The variant for a sample: one that was in none, or not with all that is in it.
    fn sweep_variant(&mut self, node: usize) -> Option<usize> {
        let variants = self.nodes[node].children.iter().copied().enumerate();
        let mut unseen = variants.filter(|&(_, variant)| !self.is_swept_variant(variant));
        let next = unseen.next();
        let Some((index, variant)) = next else { return self.first_ended(node) };
        self.sweep(variant);
        Some(index)
    }

    /// It was in a sample.
    pub(super) fn sweep(&mut self, node: usize) {
        self.changed |= !std::mem::replace(&mut self.nodes[node].swept, true);
    }

    fn is_swept(&self, node: usize) -> bool {
        let Node { kind, children, swept, .. } = &self.nodes[node];
        let all = || children.iter().all(|&child| self.is_swept(child));
        match kind {
            Kind::Blank | Kind::Again(_) => true,
            Kind::Word(_) => *swept,
            Kind::Option | Kind::Seq | Kind::Map => *swept && all(),
            Kind::Enum(_) => children.iter().all(|&variant| self.is_swept_variant(variant)),
            Kind::Tuple | Kind::Array(_) | Kind::Struct(..) | Kind::TupleStruct(_) => all(),
        }
    }

    fn is_swept_variant(&self, variant: usize) -> bool {
        let Node { given_up, swept, .. } = &self.nodes[variant];
        *given_up || *swept && self.is_swept(variant)
    }

    /// Gives the last sample's node another one the next time.
    pub(super) fn next_sample(&mut self) -> bool {
        let node = &mut self.nodes[self.last];
        let samples = match node.kind {
            Kind::Word("string") => TEXTS.len(),
            Kind::Word("bytes") => LENGTHS.len(),
            Kind::Word("any") => 4,
            Kind::Word("bool") | Kind::Option | Kind::Seq | Kind::Map => 2,
            Kind::Word(_) => 3,
            _ => 1,
        };
        node.sample += 1;
        node.sample < samples
    }

    /// Nothing more can be known of the variant that is being read.
    pub(super) fn give_up(&mut self) -> bool {
        let Some(&variant) = self.variants.last() else { return false };
        self.nodes[self.last].sample = 0;
        !std::mem::replace(&mut self.nodes[variant].given_up, true)
    }

    /// The variant that is being read needs a value that ends.
    pub(super) fn put_off(&mut self) -> bool {
        let ends = self.ends;
        let Some(&variant) = self.variants.last() else { return false };
        self.nodes[variant].put_off.replace(ends) != Some(ends)
    }

    pub(super) fn schema(&self, node: usize) -> Schema {
        let Node { kind, children, .. } = &self.nodes[node];
        let all = || children.iter().map(|&child| self.schema(child)).collect();
        let one = |i: usize| Box::new(children.get(i).map_or(Schema::Unknown, |&c| self.schema(c)));
        match *kind {
            Kind::Blank => Schema::Unknown,
            Kind::Word(word) => Schema::Word(word),
            Kind::Option => Schema::Option(one(0)),
            Kind::Seq => Schema::Seq(one(0)),
            Kind::Map => Schema::Map(one(0), one(1)),
            Kind::Tuple => Schema::Tuple(all()),
            Kind::Array(length) => Schema::Array(one(0), length),
            Kind::Struct(name, fields) => {
                let named = |(&field, &child)| (field, self.schema(child));
                Schema::Struct(name, fields.iter().zip(children).map(named).collect())
            }
            Kind::TupleStruct(name) => Schema::TupleStruct(name, all()),
            Kind::Enum(name) => Schema::Enum(name, all()),
            Kind::Again(name) => Schema::Again(name),
        }
    }
}
