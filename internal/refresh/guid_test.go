package refresh

import (
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestGUIDComesBackAsItWas(t *testing.T) {
	t.Parallel()
	const uuid = "7c6f361b-e582-15b6-60c0-358f12466b4b"
	for _, c := range []struct {
		guid string
		size int
	}{
		{"", 1},
		{"MBR-1", 6},
		{"MBR-" + uuid, 21},
		{uuid, 17},
		{strings.ToUpper("mbr-" + uuid), 41},
		{"MBR-7c6f361b-e582-15b6-60c0-358f12466b4g", 41},
		{"MBR-7c6f361b_e582-15b6-60c0-358f12466b4b", 41},
		{"MBR-7c6f361b-e582-15b6-60c0-358f12466b4", 40},
		{uuid + "-x", 39},
	} {
		b := appendGUID([]byte("front"), c.guid)[len("front"):]
		got, size := readGUID(string(b) + "behind")
		if got != c.guid || size != c.size {
			t.Errorf("%q: read %q of %d bytes, want it of %d", c.guid, got, size, c.size)
		}
	}
}

func TestAnyGUIDComesBackAsItWas(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		guid := rapid.OneOf(
			rapid.String(),
			rapid.StringMatching(`[A-Z]{0,4}-?[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-fA-F-]{12}`),
		).Draw(t, "guid")
		if got, size := readGUID(string(appendGUID(nil, guid))); got != guid || size != len(appendGUID(nil, guid)) {
			t.Fatalf("%q came back as %q of %d bytes", guid, got, size)
		}
	})
}
