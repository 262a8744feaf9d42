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
	"github.com/memberwatch/memberwatch/schemas"
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
		"member.refresh.of.json":             {""},
		"member.refresh.result.changed.json": {"", "data"},
		"deadletter.json":                    {""},
		"api.refresh.request.json":           {""},
		"api.refresh.response.json":          {"", "result", "state", "state.member"},
		"api.get.request.json":               {""},
		"api.get.response.json":              {"", "state"},
		"api.oauth_uri.request.json":         {""},
		"api.oauth_uri.response.json":        {""},
		"api.error.json":                     {""},
	} {
		for _, place := range places {
			if err := checkAs(v, name)(mutated(t, name, set(strings.TrimPrefix(place+".novelty", "."), object{"a": 1}))); err != nil {
				t.Errorf("%s with something new in %q: %v", name, place, err)
			}
		}
	}
}

// TestWhatMXCallsAWindowIsPassedOn: MX says of it that it is a text, and no more.
func TestWhatMXCallsAWindowIsPassedOn(t *testing.T) {
	t.Parallel()
	v := validator(t)
	for name, place := range map[string]string{"member.oauth_required.json": "data.oauth_window_uri", "api.oauth_uri.response.json": "oauth_window_uri"} {
		for _, uri := range []string{"https://mxbank.example/é?a=b c", "/authorize", "mxbank.example/{state}", "urn:x"} {
			if err := checkAs(v, name)(mutated(t, name, set(place, uri))); err != nil {
				t.Errorf("%s with %q: %v", name, uri, err)
			}
		}
	}
}

// TestNewerValuesOfEnumerationsAreTolerated: within v1 enumerations grow, and a
// consumer may validate and decode with something older than the service.
func TestNewerValuesOfEnumerationsAreTolerated(t *testing.T) {
	t.Parallel()
	v := validator(t)
	event := func(raw []byte) (string, error) {
		e, err := events.Decode(raw)
		return string(e.Data.Action.Actor) + " " + string(e.Data.Action.Kind), err
	}
	result := func(raw []byte) (string, error) {
		r, err := events.DecodeResult(raw)
		return string(r.Outcome), err
	}
	letter := func(raw []byte) (string, error) {
		var l events.DeadLetter
		err := json.Unmarshal(raw, &l)
		return string(l.Category), err
	}
	refusal := func(raw []byte) (string, error) {
		var e events.APIError
		err := json.Unmarshal(raw, &e)
		return string(e.Code), err
	}
	refreshed := func(raw []byte) (string, error) {
		var r events.RefreshResponse
		err := json.Unmarshal(raw, &r)
		return string(r.Result.Outcome) + " " + string(r.State.Action.Kind), err
	}
	for _, tc := range []struct {
		name, place, value string
		decode             func([]byte) (string, error)
		want               string
	}{
		{"member.pending.json", "data.action.actor", "partner", event, "partner authorize"},
		{"member.pending.json", "data.action.kind", "accept_terms", event, "user accept_terms"},
		{"member.refresh.result.unchanged.json", "data.outcome", "postponed", result, "postponed"},
		{"deadletter.json", "category", "expired", letter, "expired"},
		{"api.error.json", "code", "429", refusal, "429"},
		{"api.refresh.response.no_state.json", "result.outcome", "postponed", nil, ""},
		{"api.refresh.response.json", "state.action.kind", "accept_terms", refreshed, "changed accept_terms"},
	} {
		raw := mutated(t, tc.name, set(tc.place, tc.value))
		if err := checkAs(v, tc.name)(raw); err != nil {
			t.Errorf("%s with %s %q: %v", tc.name, tc.place, tc.value, err)
		}
		if tc.decode == nil {
			continue
		}
		if got, err := tc.decode(raw); err != nil || got != tc.want {
			t.Errorf("%s with %s %q is decoded as %q, %v; want %q", tc.name, tc.place, tc.value, got, err, tc.want)
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
			"Event": v.Event, "Command": v.Command, "Result": v.Result, "DeadLetter": v.DeadLetter, "APIError": v.APIError,
			"APIRequest":               func(raw []byte) error { return v.APIRequest(events.APIGet, raw) },
			"APIResponse":              func(raw []byte) error { return v.APIResponse(events.APIGet, raw) },
			"an endpoint that is none": func(raw []byte) error { return v.APIRequest("forget", raw) },
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
	for _, field := range []string{"user", "member", "command_id", "aggregate", "reason"} {
		raw := mutated(t, "member.refresh.json", set(field, nil))
		var c events.Command
		if err := json.Unmarshal(raw, &c); err != nil {
			t.Fatal(err)
		}
		if inGo, inSchema := c.Validate(), v.Command(raw); (inGo == nil) != (inSchema == nil) {
			t.Errorf("%s is null: Validate says %v, the schema %v", field, inGo, inSchema)
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

// TestABodyNeedNotNameWhomTheSubjectNames also holds the fields of the two schemas
// of a command to be the same.
func TestABodyNeedNotNameWhomTheSubjectNames(t *testing.T) {
	t.Parallel()
	v := validator(t)
	for raw, ok := range map[string]bool{
		`{}`: true, `{"aggregate":true}`: true, `{"user":"","member":null}`: true, `{"user":"u","member":"m","reason":null}`: true,
		`{"command_id":"c-1","novelty":7}`: true,
		`{"command_id":"a.b"}`:             false, `{"user":".."}`: false, `{"member":"a.b"}`: false, `{"member":7}`: false, `{"aggregate":"yes"}`: false,
		`{"reason":7}`: false, `[]`: false,
	} {
		if err := v.CommandOf([]byte(raw)); (err == nil) != ok {
			t.Errorf("%s: %v, want it valid: %t", raw, err, ok)
		}
	}
	fields := func(name string) []string {
		s, err := schemas.ByName(name)
		if err != nil {
			t.Fatal(err)
		}
		var doc struct {
			Properties object `json:"properties"`
		}
		if err := json.Unmarshal(s.Bytes, &doc); err != nil {
			t.Fatal(err)
		}
		return slices.Sorted(maps.Keys(doc.Properties))
	}
	if short, long := fields(schemas.Command), fields(schemas.CommandOf); !slices.Equal(short, long) {
		t.Errorf("a command has the fields %v, one whose subject names the member %v", short, long)
	}
}

// TestSchemasAndValidateOfRequestsAgree spoils one field of a good request at a time.
func TestSchemasAndValidateOfRequestsAgree(t *testing.T) {
	t.Parallel()
	v := validator(t)
	for name, value := range map[string][]any{
		"user": {"u", "", "..", "USR-a.b", nil}, "member": {"m", "", "a.b", nil}, "timeout_ms": {0, 1, 60_000, 60_001, -1, nil},
		"command_id": {"", "c", "a.b", nil}, "reason": {"", "why", "\x00", nil}, "aggregate": {true, nil},
		"enable_app2app": {false, nil}, "skip_aggregation": {true, nil},
		"referral_source": {"", "BROWSER", "APP", "app", nil}, "client_redirect_url": {"", nil, "myapp://x", "https://shop.example/", "/path", "x\x00:y"},
		"ui_message_webview_url_scheme": {"", nil, "myapp", "my app", "myapp:", strings.Repeat("a", 64), strings.Repeat("a", 65)},
	} {
		for _, value := range value {
			for endpoint, to := range map[string]func() interface{ Validate() error }{
				events.APIRefresh:  func() interface{ Validate() error } { return new(events.RefreshRequest) },
				events.APIGet:      func() interface{ Validate() error } { return new(events.GetRequest) },
				events.APIOAuthURI: func() interface{ Validate() error } { return new(events.OAuthURIRequest) },
			} {
				for _, referral := range []string{"", "APP"} {
					message := object{"user": "u", "member": "m"}
					if endpoint == events.APIOAuthURI && referral != "" {
						message["referral_source"] = referral
					}
					message[name] = value
					raw, err := json.Marshal(message)
					if err != nil {
						t.Fatal(err)
					}
					r := to()
					if err := json.Unmarshal(raw, r); err != nil {
						t.Fatal(err)
					}
					inGo, inSchema := r.Validate(), v.APIRequest(endpoint, raw)
					if (inGo == nil) != (inSchema == nil) {
						t.Errorf("%s: %s: Validate says %v, the schema %v", endpoint, raw, inGo, inSchema)
					}
				}
			}
		}
	}
}

// checkAs returns the check for the golden file called name.
func checkAs(v *validate.Validator, name string) func([]byte) error {
	switch {
	case strings.HasPrefix(name, events.ResultType+"."):
		return v.Result
	case strings.HasPrefix(name, events.CommandType+".of."):
		return v.CommandOf
	case strings.HasPrefix(name, events.CommandType+"."):
		return v.Command
	case strings.HasPrefix(name, "deadletter."):
		return v.DeadLetter
	case strings.HasPrefix(name, "api.error."):
		return v.APIError
	case strings.HasPrefix(name, "api."):
		endpoint, rest, _ := strings.Cut(strings.TrimPrefix(name, "api."), ".")
		if strings.HasPrefix(rest, "request.") {
			return func(raw []byte) error { return v.APIRequest(endpoint, raw) }
		}
		return func(raw []byte) error { return v.APIResponse(endpoint, raw) }
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
