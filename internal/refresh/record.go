package refresh

import (
	"encoding/binary"

	"github.com/memberwatch/memberwatch/events"
	"github.com/memberwatch/memberwatch/internal/member"
)

// A record is what the memory keeps of a member: 1 if it lives, else 0, in the
// first byte; then the two guids; the event's id, type and cause; its sequence
// and time; and the state as package member packs it. It never leaves the
// process, so it has no version.

// texts lists what a record holds of the event as text of its own, in order.
func (l *lastEvent) texts() [5]*string {
	return [...]*string{&l.eventID, &l.cause.ID, &l.cause.Reason, &l.cause.Traceparent, &l.cause.Tracestate}
}

func pack(key events.Key, k *known, words *member.Words) string {
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
	return string(k.state.Pack(b, words))
}

// unpack reads a record into k, whose texts are parts of it; ok is false when it
// is not key's but that of a member whose hash is the same.
func (k *known) unpack(record string, key events.Key, words *member.Words) (ok bool) {
	var room [128]byte
	owner := appendKey(room[:0], key)
	at := 1 + len(owner)
	if len(record) < at || record[1:at] != string(owner) {
		return false
	}
	eventType, at := words.Text(record, at)
	k.eventType = events.Type(eventType)
	var own *member.Words
	for _, t := range k.texts() {
		*t, at = own.Text(record, at)
	}
	var n int
	k.sequence, n = member.Uvarint(record[at:])
	at += n
	k.observedAt, n = member.Varint(record[at:])
	k.state = member.Unpack(record[at+n:], key, words)
	return true
}

// owner returns whose record it is, and whether that member lives. An empty
// record is nobody's.
func owner(record string) (k events.Key, alive bool) {
	if record == "" || record[0] == 0 {
		return events.Key{}, false
	}
	user, n := readGUID(record[1:])
	guid, _ := readGUID(record[1+n:])
	k, err := events.NewKey(user, guid)
	return k, err == nil
}

func appendKey(b []byte, k events.Key) []byte { return appendGUID(appendGUID(b, k.User()), k.Member()) }
