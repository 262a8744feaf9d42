package client

// SetRoom makes passes over the stream as small as a test can afford.
func (s *Snapshot) SetRoom(members int) { s.room = members }
