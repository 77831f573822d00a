//! The configuration of a cluster on the binary wire: ElastiCache's opcode 0x60 with the key `cluster`
//! (`docs/protocol.md` of remcache 5.3). A server that is no configuration endpoint does not know it.

use remcache_proto::Status;
use remcache_proto::binary::{Header, Opcode, Packet};

use crate::state::State;

const GET_CONFIG: u8 = 0x60;
const KEY: &[u8] = b"cluster";
/// What follows the header at most; a longer request is none of these.
const LONGEST_BODY: u32 = 1024;

/// The reply to the request at the front of the input, if it asks for the configuration, and how
/// many bytes it takes; an error with that number if it is not complete.
#[inline]
pub(super) fn answer(input: &[u8], state: &State) -> Option<Result<(Packet, usize), usize>> {
    if input.get(1) == Some(&GET_CONFIG) { look_up(input, state) } else { None }
}

#[cold]
fn look_up(input: &[u8], state: &State) -> Option<Result<(Packet, usize), usize>> {
    let text = state.cluster().as_ref()?.text().to_owned();
    let header = Header::from_bytes(input.first_chunk()?).ok().filter(|header| header.body_length <= LONGEST_BODY)?;
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
