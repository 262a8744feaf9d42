package validate_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/memberwatch/memberwatch/events"
	"github.com/memberwatch/memberwatch/schemas/validate"
)

const goldenDir = "../../events/testdata/golden"

func TestEveryGoldenFileMatchesItsSchema(t *testing.T) {
	t.Parallel()
	v := validator(t)
	paths, err := filepath.Glob(filepath.Join(goldenDir, "*.json"))
	if err != nil || len(paths) < 29 {
		t.Fatalf("found %d golden files, %v", len(paths), err)
	}
	for _, path := range paths {
		name := filepath.Base(path)
		if err := checkAs(v, name)(golden(t, name)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestUnknownFieldsAndAttributesAreTolerated(t *testing.T) {
	t.Parallel()
	v := validator(t)
	for name, places := range map[string][]string{
		"member.pending.json":                {"", "data", "data.member", "data.previous", "data.action"},
		"member.error_raised.json":           {"data.member.error"},
		"member.refresh.json":                {""},
		"member.refresh.result.changed.json": {"", "data"},
		"deadletter.json":                    {""},
	} {
		for _, place := range places {
			if err := checkAs(v, name)(mutated(t, name, set(strings.TrimPrefix(place+".novelty", "."), object{"a": 1}))); err != nil {
				t.Errorf("%s with something new in %q: %v", name, place, err)
			}
		}
	}
}

func TestEventOfANewerTypeIsHeldAgainstTheGeneralSchema(t *testing.T) {
	t.Parallel()
	v := validator(t)
	newer := set("type", "com.example.member.status_deleted")
	general := set("dataschema", events.Type("member.status_deleted").SchemaID())
	if err := v.Event(mutated(t, "member.connected.json", newer, general)); err != nil {
		t.Error(err)
	}
	if err := v.Event(mutated(t, "member.connected.json", newer, general, set("data.revision", 0))); !errors.Is(err, validate.ErrInvalid) {
		t.Errorf("revision 0 gives %v", err)
	}
	for _, bad := range []string{"", "order.created", "member", "member.", "member.CONNECTED", "member.a.b"} {
		if err := v.Event(mutated(t, "member.quarantined.json", set("type", bad))); !errors.Is(err, validate.ErrInvalid) {
			t.Errorf("type %q gives %v", bad, err)
		}
	}
}

func TestWhatIsNoJSONIsInvalid(t *testing.T) {
	t.Parallel()
	v := validator(t)
	for _, raw := range []string{"", "{", "null", "[]", `"x"`, "{}", "{} {}"} {
		for name, check := range map[string]func([]byte) error{
			"Event": v.Event, "Command": v.Command, "Result": v.Result, "DeadLetter": v.DeadLetter,
		} {
			if err := check([]byte(raw)); !errors.Is(err, validate.ErrInvalid) {
				t.Errorf("%s(%q) = %v, want ErrInvalid", name, raw, err)
			}
		}
	}
}

// TestSchemaAndCommandValidateAgree spoils one field of a good command at a time.
func TestSchemaAndCommandValidateAgree(t *testing.T) {
	t.Parallel()
	v := validator(t)
	agree := func(value string) error { // nil: they do
		for field, c := range map[string]events.Command{
			"user":       {User: value, Member: "m"},
			"member":     {User: "u", Member: value},
			"command_id": {User: "u", Member: "m", CommandID: value},
			"reason":     {User: "u", Member: "m", Reason: value},
		} {
			raw, err := json.Marshal(c)
			if err != nil {
				return err
			}
			inGo, inSchema := c.Validate(), v.Command(raw)
			if (inGo == nil) != (inSchema == nil) {
				return fmt.Errorf("%s %q: valid for Validate is %v, for the schema %v", field, value, inGo == nil, inSchema == nil)
			}
		}
		return nil
	}
	for _, value := range []string{"", ".", "..", "...", "USR-1", "USR-a.b", "USR-", "MBR-1", "MBR-a.b", "a b", "é", "a\n", "\u2028", "\ufffd"} {
		if err := agree(value); err != nil {
			t.Error(err)
		}
	}
	for _, prefix := range []string{"", "USR-", "MBR-"} {
		for _, limit := range []int{64, 256, 1024} {
			for _, length := range []int{limit, limit + 1} {
				if err := agree(prefix + strings.Repeat("a", length-len(prefix))); err != nil {
					t.Error(err)
				}
			}
		}
	}
	text := rapid.OneOf(rapid.StringMatching(`[A-Za-z0-9._~@+:=*>/-]{1,5}`), rapid.StringMatching(`[\x00-\x7f]{1,3}`))
	rapid.Check(t, func(t *rapid.T) {
		if err := agree(text.Draw(t, "value")); err != nil {
			t.Fatal(err)
		}
	})
}

// checkAs returns the check for the golden file called name.
func checkAs(v *validate.Validator, name string) func([]byte) error {
	switch {
	case strings.HasPrefix(name, events.ResultType+"."):
		return v.Result
	case strings.HasPrefix(name, events.CommandType+"."):
		return v.Command
	case strings.HasPrefix(name, "deadletter."):
		return v.DeadLetter
	}
	return v.Event
}

func validator(t *testing.T) *validate.Validator {
	t.Helper()
	v, err := validate.New()
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func golden(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(goldenDir, name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

type object = map[string]any

// A mutation changes one place of a decoded message.
type mutation func(t *testing.T, message object)

// set puts value at the place, whose keys are parted by dots.
func set(place string, value any) mutation {
	return func(t *testing.T, message object) {
		t.Helper()
		parent, key := find(t, message, place)
		parent[key] = value
	}
}

// drop removes what is at the place, which must be there.
func drop(place string) mutation {
	return func(t *testing.T, message object) {
		t.Helper()
		parent, key := find(t, message, place)
		if _, ok := parent[key]; !ok {
			t.Fatalf("there is no %s in %v", place, slices.Sorted(maps.Keys(parent)))
		}
		delete(parent, key)
	}
}

func find(t *testing.T, message object, place string) (parent object, key string) {
	t.Helper()
	keys := strings.Split(place, ".")
	for _, key := range keys[:len(keys)-1] {
		next, ok := message[key].(object)
		if !ok {
			t.Fatalf("no object at %s of %s", key, place)
		}
		message = next
	}
	return message, keys[len(keys)-1]
}

func mutated(t *testing.T, name string, mutations ...mutation) []byte {
	t.Helper()
	var message object
	if err := json.Unmarshal(golden(t, name), &message); err != nil {
		t.Fatal(err)
	}
	for _, m := range mutations {
		m(t, message)
	}
	b, err := json.Marshal(message)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
