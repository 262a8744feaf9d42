package refresh

import (
	"bytes"
	"encoding/binary"

	"github.com/memberwatch/memberwatch/events"
	"github.com/memberwatch/memberwatch/internal/member"
)

// A record is what the memory keeps of a member: 1 if it lives, else 0, in the
// first byte; then the two guids; the event's id, type and cause; its sequence
// and time; and the state as package member packs it. It never leaves the
// process, so it has no version.

// texts lists what a record holds of the event as text of its own, in order.
func (l *last) texts() [5]*string {
	return [...]*string{&l.eventID, &l.cause.ID, &l.cause.Reason, &l.cause.Traceparent, &l.cause.Tracestate}
}

func pack(key events.Key, k *known, words *member.Words) []byte {
	var room [512]byte // more than most need
	b := append(room[:0], 0)
	if k.state.Known() && !k.state.Deleted {
		b[0] = 1
	}
	b = appendKey(b, key)
	b = words.Append(b, string(k.eventType))
	var own *member.Words // none
	for _, t := range k.texts() {
		b = own.Append(b, *t)
	}
	b = binary.AppendUvarint(b, k.sequence)
	b = binary.AppendVarint(b, k.observedAt)
	return bytes.Clone(k.state.Pack(b, words))
}

// unpack returns what is in a record of the member key; nil when it is another's
// whose hash is the same.
func unpack(b []byte, key events.Key, words *member.Words) *known {
	var room [128]byte
	owner := appendKey(room[:0], key)
	if !bytes.HasPrefix(b[1:], owner) {
		return nil
	}
	k, all := new(known), string(b) // one allocation for all texts
	eventType, at := words.Text(b, all, 1+len(owner))
	k.eventType = events.Type(eventType)
	var own *member.Words
	for _, t := range k.texts() {
		*t, at = own.Text(b, all, at)
	}
	sequence, n := binary.Uvarint(b[at:])
	at += n
	observedAt, n := binary.Varint(b[at:])
	k.sequence, k.observedAt = sequence, observedAt
	k.state = member.Unpack(b[at+n:], key, words)
	return k
}

// owner returns whose record it is, and whether that member lives. A nil record
// is nobody's.
func owner(b []byte) (k events.Key, alive bool) {
	if len(b) == 0 || b[0] == 0 {
		return events.Key{}, false
	}
	user, n := readGUID(b[1:])
	guid, _ := readGUID(b[1+n:])
	k, err := events.NewKey(user, guid)
	return k, err == nil
}

func appendKey(b []byte, k events.Key) []byte { return appendGUID(appendGUID(b, k.User()), k.Member()) }
