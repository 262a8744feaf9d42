package bus

import "sync"

// rooms are where events and results are encoded: the client has copied a body by
// the time its publish returns, so the next one may be written over it.
type rooms struct{ free sync.Pool }

const (
	roomSize = 4 << 10 // more than most events need
	// roomMost is how large a room may have grown to be used again: an event with long
	// texts is rare, and its room would stay.
	roomMost = 32 << 10
)

// take returns an empty room.
func (r *rooms) take() *[]byte {
	if room, ok := r.free.Get().(*[]byte); ok {
		return room
	}
	return new(make([]byte, 0, roomSize))
}

// give has a room used again, into which body was appended.
func (r *rooms) give(room *[]byte, body []byte) {
	if cap(body) > roomMost {
		return
	}
	*room = body[:0]
	r.free.Put(room)
}
