package bus

import "sync"

// buffers are where events and results are encoded: the client has copied a body by
// the time its publish returns, so the next one may be written over it.
type buffers struct{ free sync.Pool }

const (
	bufferSize = 4 << 10 // more than most events need
	// bufferMost is how large a buffer may have grown to be used again: an event with
	// long texts is rare, and its buffer would stay.
	bufferMost = 32 << 10
)

// get returns an empty buffer.
func (b *buffers) get() *[]byte {
	if buffer, ok := b.free.Get().(*[]byte); ok {
		return buffer
	}
	return new(make([]byte, 0, bufferSize))
}

// put has a buffer used again, into which body was appended.
func (b *buffers) put(buffer *[]byte, body []byte) {
	if cap(body) > bufferMost {
		return
	}
	*buffer = body[:0]
	b.free.Put(buffer)
}
