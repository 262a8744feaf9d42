package refresh

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"strings"

	"github.com/memberwatch/memberwatch/internal/member"
)

// MX's guids are three letters and a UUID, such as
// MBR-7c6f361b-e582-15b6-60c0-358f12466b4b. A record holds the UUID as 16 bytes
// in place of 36, wherever a guid ends in one in MX's spelling.
const (
	uuidText  = 36
	uuidBytes = 16
)

// appendGUID appends twice the length of what follows as text, and 1 more if a
// UUID follows that; then both.
func appendGUID(b []byte, guid string) []byte {
	if at := len(guid) - uuidText; at >= 0 {
		if uuid, ok := parseUUID(guid[at:]); ok {
			b = append(binary.AppendUvarint(b, uint64(at)<<1|1), guid[:at]...)
			return append(b, uuid[:]...)
		}
	}
	return append(binary.AppendUvarint(b, uint64(len(guid))<<1), guid...)
}

// readGUID returns the guid that b begins with, and how many bytes it takes.
func readGUID(b string) (guid string, size int) {
	code, n := member.Uvarint(b)
	size = n + int(code>>1)
	guid = b[n:size]
	if code&1 == 0 {
		return strings.Clone(guid), size // not a part of all that is remembered
	}
	return guid + formatUUID([]byte(b[size:size+uuidBytes])), size + uuidBytes
}

// parseUUID reads a UUID in lower case; any other spelling would not come back
// as it was.
func parseUUID(s string) (uuid [uuidBytes]byte, ok bool) {
	var digits [2 * uuidBytes]byte
	n := 0
	for i := range uuidText {
		switch c := s[i]; {
		case i == 8 || i == 13 || i == 18 || i == 23:
			if c != '-' {
				return uuid, false
			}
		case c >= '0' && c <= '9' || c >= 'a' && c <= 'f':
			digits[n] = c
			n++
		default:
			return uuid, false
		}
	}
	_, err := hex.Decode(uuid[:], digits[:])
	return uuid, err == nil
}

func formatUUID(uuid []byte) string {
	digits := hex.AppendEncode(make([]byte, 0, 2*uuidBytes), uuid)
	return string(bytes.Join([][]byte{digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]}, []byte{'-'}))
}
