//! Reading keys: how many there are, what they hold, how large they are.
//!
//! Values are read by commands and digested here, each kind in an order of its own. DUMP would be one command, but its
//! bytes depend on how a value came about, not only on what it is, and differ between source and target.

use super::Valkey;
use super::baseline::{Baseline, Look};
use super::bucket::Bucket;
use super::reply::{number, text};
use crate::contract::Refusal;
use redis::{Cmd, Pipeline, Value};
use std::net::SocketAddr;
use std::time::{SystemTime, UNIX_EPOCH};
use xxhash_rust::xxh3::Xxh3;

/// Keys that are compared. One in a hundred lost is found with a probability of 92 %, and any number by counting.
const SAMPLE: usize = 256;

/// Keys whose memory is asked for, of each bucket.
const MEASURED: usize = 16;

/// The longest key that is compared, in bytes: the sample is noted durably.
const MAX_KEY: usize = 1_024;

/// Elements of a list, sorted set or stream that are compared, and of hashes and sets that are compared at all:
/// theirs have no order by which a part could be named.
const MAX_ELEMENTS: u64 = 1_000;

/// How a kind of value is read.
struct Kind {
    /// As TYPE calls it.
    name: &'static str,
    /// Tells its length.
    length: &'static str,
    /// Reads it, with what follows the key.
    read: (&'static str, &'static [&'static str]),
    /// How many items of the answer make an element of which the order does not count; 0 where it counts.
    unordered: usize,
}

/// Kinds of values. Of strings the first 64 KiB are compared; those of modules by their presence only.
const KINDS: [Kind; 6] = [
    Kind { name: "string", length: "STRLEN", read: ("GETRANGE", &["0", "65535"]), unordered: 0 },
    Kind { name: "list", length: "LLEN", read: ("LRANGE", &["0", "999"]), unordered: 0 },
    Kind { name: "hash", length: "HLEN", read: ("HGETALL", &[]), unordered: 2 },
    Kind { name: "set", length: "SCARD", read: ("SMEMBERS", &[]), unordered: 1 },
    Kind { name: "zset", length: "ZCARD", read: ("ZRANGE", &["0", "999", "WITHSCORES"]), unordered: 0 },
    Kind { name: "stream", length: "XLEN", read: ("XRANGE", &["-", "+", "COUNT", "1000"]), unordered: 0 },
];

impl Valkey {
    /// How many keys of the bucket a node has, also of slots that it is being sent.
    pub(super) async fn keys(&self, node: SocketAddr, bucket: Bucket) -> Result<u64, Refusal> {
        Ok(self.keys_by_slot(node, bucket).await?.iter().map(|(_, keys)| keys).sum())
    }

    /// The slots of the bucket that have keys on a node, with how many.
    async fn keys_by_slot(&self, node: SocketAddr, bucket: Bucket) -> Result<Vec<(u16, u64)>, Refusal> {
        let mut commands = Pipeline::new();
        for slot in bucket.slots() {
            commands.cmd("CLUSTER").arg("COUNTKEYSINSLOT").arg(slot);
        }
        let mut counts = Vec::new();
        for (slot, answer) in bucket.slots().zip(self.answers(node, commands).await?) {
            let keys: u64 =
                number(&answer).ok_or_else(|| Refusal::not_now(format!("{node} does not count keys")))?;
            if keys > 0 {
                counts.push((slot, keys));
            }
        }
        Ok(counts)
    }

    /// About `count` keys of the bucket, from all over its slots.
    async fn some_keys(
        &self,
        node: SocketAddr,
        slots: &[(u16, u64)],
        count: usize,
    ) -> Result<Vec<Vec<u8>>, Refusal> {
        let each = count.div_ceil(slots.len().max(1));
        let mut commands = Pipeline::new();
        for (slot, _) in slots.iter().step_by(slots.len().div_ceil(count).max(1)) {
            commands.cmd("CLUSTER").arg("GETKEYSINSLOT").arg(*slot).arg(each);
        }
        let answers = self.answers(node, commands).await?;
        let keys = answers.iter().filter_map(Value::as_sequence).flatten();
        let keys =
            keys.filter_map(|key| if let Value::BulkString(key) = key { Some(key.clone()) } else { None });
        Ok(keys.take(count).collect())
    }

    /// Chooses what is compared, and looks at it for the first time.
    pub(super) async fn first_look(&self, node: SocketAddr, bucket: Bucket) -> Result<Baseline, Refusal> {
        let slots = self.keys_by_slot(node, bucket).await?;
        let mut keys = self.some_keys(node, &slots, SAMPLE).await?;
        keys.retain(|key| key.len() <= MAX_KEY);
        let mut commands = Pipeline::new();
        for key in &keys {
            commands.cmd("PTTL").arg(key);
        }
        let lives: Vec<Option<i64>> = self.answers(node, commands).await?.iter().map(number).collect();
        let (drawn, expiring) = (keys.len(), lives.iter().flatten().filter(|life| **life >= 0).count());
        let lasting: Vec<String> = keys
            .iter()
            .zip(&lives)
            .filter(|(_, life)| **life == Some(-1))
            .map(|(key, _)| hexadecimal(key))
            .collect();
        let look = self.look(node, bucket, lasting.iter().map(String::as_str)).await?;
        Ok(Baseline::new(look, drawn as u64, expiring as u64))
    }

    /// Counts the keys, and reads those that are named by hexadecimal digits. It is refused where the node does not
    /// have the slots, or loses them meanwhile.
    pub(super) async fn look<'a>(
        &self,
        node: SocketAddr,
        bucket: Bucket,
        sample: impl Iterator<Item = &'a str>,
    ) -> Result<Look, Refusal> {
        let at_ms = now_ms();
        let keys = self.keys(node, bucket).await?;
        let names: Vec<&str> = sample.collect();
        let sampled: Vec<Vec<u8>> = names.iter().map(|name| bytes(name)).collect();
        let digests = self.digests(node, &sampled).await?;
        let found =
            names.into_iter().zip(digests).filter_map(|(name, digest)| Some((name.to_owned(), digest?)));
        Ok(Look { at_ms, keys, digests: found.collect() })
    }

    /// Digests of values; `None` for keys that are not there.
    async fn digests(&self, node: SocketAddr, keys: &[Vec<u8>]) -> Result<Vec<Option<u64>>, Refusal> {
        let mut commands = Pipeline::new();
        for key in keys {
            commands.cmd("TYPE").arg(key);
        }
        let types = self.answers(node, commands).await?;
        let kinds: Vec<Option<&Kind>> =
            types.iter().map(|kind| KINDS.iter().find(|known| Some(known.name) == text(kind))).collect();

        let mut commands = Pipeline::new();
        for (key, kind) in keys.iter().zip(&kinds) {
            // Answers stay in step with keys: what cannot be measured is asked whether it is there.
            commands.cmd(kind.map_or("EXISTS", |kind| kind.length)).arg(key);
        }
        let lengths: Vec<u64> =
            self.answers(node, commands).await?.iter().map(|answer| number(answer).unwrap_or(0)).collect();

        let mut commands = Pipeline::new();
        for ((key, kind), length) in keys.iter().zip(&kinds).zip(&lengths) {
            commands.add_command(reading(key, *kind, *length));
        }
        let contents = self.answers(node, commands).await?;
        let parts = kinds.into_iter().zip(lengths).zip(contents).zip(&types);
        Ok(parts
            .map(|(((kind, length), content), name)| {
                (text(name) != Some("none"))
                    .then(|| digest(kind, text(name).unwrap_or_default(), length, &content))
            })
            .collect())
    }

    /// Bytes of the bucket at a node: the keys that are there, times what some of them take. `None` if none of them
    /// can be measured.
    pub(super) async fn size_bytes(&self, node: SocketAddr, bucket: Bucket) -> Result<Option<u64>, Refusal> {
        let slots = self.keys_by_slot(node, bucket).await?;
        let keys: u64 = slots.iter().map(|(_, keys)| keys).sum();
        if keys == 0 {
            return Ok(Some(0));
        }
        let mut commands = Pipeline::new();
        for key in self.some_keys(node, &slots, MEASURED).await? {
            commands.cmd("MEMORY").arg("USAGE").arg(key);
        }
        let measured: Vec<u64> = self.answers(node, commands).await?.iter().filter_map(number).collect();
        let total: u64 = measured.iter().sum();
        Ok((!measured.is_empty())
            .then(|| (u128::from(total) * u128::from(keys) / measured.len() as u128) as u64))
    }

    /// All answers, or a refusal where the node says no to one.
    async fn answers(&self, node: SocketAddr, commands: Pipeline) -> Result<Vec<Value>, Refusal> {
        let answers: Option<Vec<Value>> = self.nodes.ask_all(node, commands).await?.into_iter().collect();
        answers.ok_or_else(|| {
            Refusal::not_now(format!(
                "{node} does not let all keys be read: slots are on their way, or rights are lacking"
            ))
        })
    }
}

/// The command that reads a value, or asks whether it is there where that would be too much.
fn reading(key: &[u8], kind: Option<&Kind>, length: u64) -> Cmd {
    let kind = kind.filter(|kind| kind.unordered == 0 || length <= MAX_ELEMENTS);
    let (command, rest) = kind.map_or(("EXISTS", &[] as &[&str]), |kind| kind.read);
    let mut command = redis::cmd(command);
    command.arg(key).arg(rest);
    command
}

fn digest(kind: Option<&Kind>, name: &str, length: u64, content: &Value) -> u64 {
    let mut hash = Xxh3::new();
    hash.update(name.as_bytes());
    hash.update(&length.to_le_bytes());
    let items: Vec<Vec<u8>> =
        content.as_sequence().unwrap_or(std::slice::from_ref(content)).iter().map(flat).collect();
    let unordered = kind.map_or(0, |kind| kind.unordered);
    let mut elements: Vec<Vec<u8>> = items.chunks(unordered.max(1)).map(<[Vec<u8>]>::concat).collect();
    if unordered > 0 {
        elements.sort();
    }
    for element in elements {
        hash.update(&element);
    }
    hash.digest()
}

/// A value as bytes from which it could be read again.
fn flat(value: &Value) -> Vec<u8> {
    if let Some(items) = value.as_sequence() {
        let mut bytes = (items.len() as u64).to_le_bytes().to_vec();
        items.iter().for_each(|item| bytes.extend(flat(item)));
        return bytes;
    }
    let content =
        if let Value::BulkString(bytes) = value { bytes.clone() } else { format!("{value:?}").into_bytes() };
    [(content.len() as u64).to_le_bytes().to_vec(), content].concat()
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The bytes of hexadecimal digits; what is none is skipped, and a key of that name will not be there.
fn bytes(digits: &str) -> Vec<u8> {
    let pairs = digits.as_bytes().chunks(2);
    pairs.filter_map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[&str]) -> Value {
        Value::Array(words.iter().map(|word| Value::BulkString((*word).into())).collect())
    }

    fn of(name: &str, length: u64, content: &Value) -> u64 {
        digest(KINDS.iter().find(|kind| kind.name == name), name, length, content)
    }

    #[test]
    fn the_order_counts_where_there_is_one() {
        let (ab, ba) = (words(&["a", "b"]), words(&["b", "a"]));
        assert_ne!(of("list", 2, &ab), of("list", 2, &ba));
        assert_eq!(of("set", 2, &ab), of("set", 2, &ba));
        assert_ne!(of("hash", 1, &ab), of("hash", 1, &ba), "a field is not its value");
        let (one, other) = (words(&["a", "1", "b", "2"]), words(&["b", "2", "a", "1"]));
        assert_eq!(of("hash", 2, &one), of("hash", 2, &other));
    }

    #[test]
    fn kind_length_and_borders_count() {
        assert_ne!(of("list", 1, &words(&["a"])), of("set", 1, &words(&["a"])));
        assert_ne!(of("string", 1, &words(&["a"])), of("string", 2, &words(&["a"])));
        assert_ne!(of("list", 2, &words(&["ab", "c"])), of("list", 2, &words(&["a", "bc"])));
    }

    #[test]
    fn what_bounds_say_is_what_commands_read() {
        assert_eq!(KINDS[1].read.1[1], (MAX_ELEMENTS - 1).to_string());
        assert_eq!(KINDS[4].read.1[1], (MAX_ELEMENTS - 1).to_string());
        assert_eq!(KINDS[5].read.1[3], MAX_ELEMENTS.to_string());
    }

    #[test]
    fn any_key_is_noted_and_found_again() {
        let key: Vec<u8> = (0..=255).collect();
        assert_eq!(bytes(&hexadecimal(&key)), key);
    }
}
