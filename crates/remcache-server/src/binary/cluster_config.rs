//! The cluster configuration in the binary protocol: ElastiCache's opcode 0x60 with the key `cluster`
//! (`docs/protocol.md` of remcache 4.10). Without a configuration the opcode is unknown.

use remcache_proto::Status;
use remcache_proto::binary::{Header, Opcode, Packet};

use crate::state::ServerState;

const GET_CONFIG: u8 = 0x60;
const KEY: &[u8] = b"cluster";
/// The longest accepted body. A longer one cannot be a valid request, and waiting for it would take memory.
const MAX_BODY: u32 = 1024;

/// Returns the reply to the request at the front of the input, if it asks for the configuration, and the length of the
/// request. Returns that length as an error if the request is incomplete.
#[inline]
pub(super) fn reply(input: &[u8], state: &ServerState) -> Option<Result<(Packet, usize), usize>> {
    if input.get(1) == Some(&GET_CONFIG) { reply_to_config(input, state) } else { None }
}

#[cold]
fn reply_to_config(input: &[u8], state: &ServerState) -> Option<Result<(Packet, usize), usize>> {
    let text = state.cluster().as_ref()?.text().to_owned();
    let header = Header::from_bytes(input.first_chunk()?).ok().filter(|header| header.body_length <= MAX_BODY)?;
    header.value_length()?;
    let length = Header::LEN + header.body_length as usize;
    let Some(body) = input.get(Header::LEN..length) else { return Some(Err(length)) };
    let key = body.get(usize::from(header.extras_length)..)?.get(..usize::from(header.key_length))?;
    let opcode = Opcode(GET_CONFIG);
    let mut reply = match key == KEY {
        true => Packet::response(opcode, Status::NoError, vec![0; 4], "", text),
        false => Packet::response(opcode, Status::KeyNotFound, "", "", "Not found"),
    };
    reply.header.opaque = header.opaque;
    Some(Ok((reply, length)))
}
