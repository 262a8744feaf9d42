package refresh

import (
	"encoding/binary"

	"github.com/memberwatch/memberwatch/events"
	"github.com/memberwatch/memberwatch/internal/member"
)

// A record is what the memory keeps of a member: 1 if it lives, else 0, in the
// first byte; then the two guids, the event's id, type and cause as texts with
// their length in front, its sequence and time, and the state as package member packs it.
// It never leaves the process, so it has no version.

// texts lists what a record holds of the event as text, in order.
func (l *last) texts() [6]*string {
	return [...]*string{
		&l.eventID, (*string)(&l.eventType),
		&l.cause.ID, &l.cause.Reason, &l.cause.Traceparent, &l.cause.Tracestate,
	}
}

func pack(key events.Key, k *known) []byte {
	var room [512]byte // more than most need
	b := append(room[:0], 0)
	if k.state.Known() && !k.state.Deleted {
		b[0] = 1
	}
	put := func(s string) { b = append(binary.AppendUvarint(b, uint64(len(s))), s...) }
	put(key.User())
	put(key.Member())
	for _, t := range k.texts() {
		put(*t)
	}
	b = binary.AppendUvarint(b, k.sequence)
	b = binary.AppendVarint(b, k.observedAt)
	return k.state.Pack(b)
}

// unpack returns what is in a record of the member key; nil when it is another's
// whose hash is the same.
func unpack(b []byte, key events.Key) *known {
	user, at := field(b, 1)
	guid, at := field(b, at)
	if string(user) != key.User() || string(guid) != key.Member() {
		return nil
	}
	k, all := new(known), string(b) // one allocation for all texts
	for _, t := range k.texts() {
		f, end := field(b, at)
		*t, at = all[end-len(f):end], end
	}
	sequence, n := binary.Uvarint(b[at:])
	at += n
	observedAt, n := binary.Varint(b[at:])
	k.sequence, k.observedAt = sequence, observedAt
	k.state = member.Unpack(b[at+n:], key)
	return k
}

// owner returns whose record it is, and whether that member lives. A nil record
// is nobody's.
func owner(b []byte) (k events.Key, alive bool) {
	if len(b) == 0 || b[0] == 0 {
		return events.Key{}, false
	}
	user, at := field(b, 1)
	guid, _ := field(b, at)
	k, err := events.NewKey(string(user), string(guid))
	return k, err == nil
}

// field returns the bytes of the text at an offset, and the offset after it.
func field(b []byte, at int) (f []byte, end int) {
	length, n := binary.Uvarint(b[at:])
	end = at + n + int(length) //nolint:gosec // It was the length of a text in this process.
	return b[at+n : end], end
}
