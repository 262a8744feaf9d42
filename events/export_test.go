package events

import (
	"fmt"
	"reflect"
)

// Canonical reports whether the canonical way of [Decode] takes b, and an error
// if the general way reads anything else.
func Canonical(b []byte) (taken bool, err error) {
	r, taken := canonical(b)
	if !taken {
		return false, nil
	}
	var want received[Data]
	if err := want.unmarshal(b); err != nil {
		return true, fmt.Errorf("taken, and the general way says: %w", err)
	}
	if !reflect.DeepEqual(r, want) {
		return true, fmt.Errorf("read as\n%+v\nand in the general way as\n%+v", r, want)
	}
	return true, nil
}

// General is [Decode] without the canonical way.
func General(b []byte) (Event, error) { return general(b) }
