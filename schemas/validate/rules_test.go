package validate_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/memberwatch/memberwatch/events"
	"github.com/memberwatch/memberwatch/schemas/validate"
)

// rule is a golden file with one thing wrong.
type rule struct {
	name   string
	golden string
	spoil  mutation
}

func TestSchemasRefuseWhatTheContractForbids(t *testing.T) {
	t.Parallel()
	v := validator(t)
	rules := []rule{
		// The envelope.
		{"another version of CloudEvents", "member.connected", set("specversion", "0.3")},
		{"an empty id", "member.connected", set("id", "")},
		{"a time that is none", "member.connected", set("time", "yesterday")},
		{"a time without a zone", "member.connected", set("time", "2026-03-14T09:26:53")},
		{"another media type", "member.connected", set("datacontenttype", "text/plain")},
		{"a source that names no member", "member.connected", set("source", "/mx/users/USR-1")},
		{"a subject with dots", "member.connected", set("subject", "a.b")},
		{"an empty partition key", "member.connected", set("partitionkey", "")},
		{"a sequence without zeros", "member.connected", set("sequence", "7")},
		{"a sequence that is a number", "member.connected", set("sequence", 7)},
		{"a reason that is no text", "member.connected", set("reason", 1)},
		{"an empty reason", "member.connected", set("reason", "")},
		{"a reason too long", "member.connected", set("reason", strings.Repeat("r", 257))},
		{"an empty correlation id", "member.connected", set("correlationid", "")},
		{"an empty traceparent", "member.connected", set("traceparent", "")},
		{"an empty tracestate", "member.connected", set("tracestate", "")},
		{"the schema of another type", "member.connected", set("dataschema", events.TypePending.SchemaID())},
		{"the general schema for a known type", "member.connected", set("dataschema", events.Type("member.x").SchemaID())},
		{"a schema of somebody else", "member.quarantined", set("dataschema", "https://example.com/member.quarantined.json")},

		// The data.
		{"data that are null", "member.connected", set("data", nil)},
		{"revision 0", "member.connected", set("data.revision", 0)},
		{"a fraction of a revision", "member.connected", set("data.revision", 2.5)},
		{"a first sight after revision 1", "member.created", set("data.revision", 2)},
		{"former values at revision 1", "member.connected", set("data.revision", 1)},
		{"a change without a name", "member.quarantined", set("data.changed", []any{""})},
		{"a change that is a number", "member.quarantined", set("data.changed", []any{1})},
		{"nothing changed", "member.quarantined", set("data.changed", []any{})},
		{"changed is null", "member.connected", set("data.changed", nil)},
		{"a change told twice", "member.connected", set("data.changed", []any{"connection_status", "connection_status"})},
		{"an actor in capitals", "member.connected", set("data.action.actor", "User")},
		{"a kind of action that is two words", "member.connected", set("data.action.kind", "call us")},
		{"a kind of action without a name", "member.connected", set("data.action.kind", "")},
		{"a need that is null", "member.connected", set("data.oauth_required", nil)},
		{"an observation without a time", "member.connected", set("data.observed_at", "")},

		// The member.
		{"a guid that is null", "member.connected", set("data.member.guid", nil)},
		{"a guid with a wildcard", "member.connected", set("data.member.guid", "MBR-*")},
		{"a user's guid with dots", "member.connected", set("data.member.user_guid", "a.b")},
		{"a status in lower case", "member.discovered", set("data.member.connection_status", "connected")},
		{"a flag that is a text", "member.connected", set("data.member.is_oauth", "true")},
		{"use cases that are no texts", "member.connected", set("data.member.use_cases", []any{1})},
		{"a use case without a name", "member.connected", set("data.member.use_cases", []any{""})},
		{"a time of aggregation that is none", "member.connected", set("data.member.aggregated_at", "soon")},
		{"an error that is a text", "member.connected", set("data.member.error", "2004")},
		{"an error code that is a text", "member.error_raised", set("data.member.error.error_code", "2004")},

		// Never.
		{"metadata", "member.connected", set("data.member.metadata", "{}")},
		{"metadata that are null", "member.connected", set("data.member.metadata", nil)},
		{"credentials", "member.connected", set("data.member.credentials", []any{})},
		{"a URI in the member", "member.oauth_required", set("data.member.oauth_window_uri", "https://mxbank.example/")},
		{"former metadata", "member.connected", set("data.previous.metadata", "{}")},
		{"a former URI", "member.oauth_required", set("data.previous.oauth_window_uri", "https://mxbank.example/")},
		{"a former guid", "member.connected", set("data.previous.guid", "MBR-1")},
		{"a URI in an unknown type", "member.quarantined", set("data.oauth_window_uri", "https://mxbank.example/")},

		// Single types.
		{"an announcement without a need", "member.oauth_required", set("data.oauth_required", false)},
		{"an announcement of a deleted member", "member.oauth_required", set("data.deleted", true)},
		{"an announcement with an empty URI", "member.oauth_required", set("data.oauth_window_uri", "")},
		{"an announcement with a URI that is null", "member.oauth_required", set("data.oauth_window_uri", nil)},
		{"an error raised without one", "member.error_raised", set("data.member.error", nil)},
		{"an error raised with a change of status", "member.error_raised", set("data.changed", []any{"connection_status", "error"})},
		{"an error raised that did not change", "member.error_raised", set("data.changed", []any{"name"})},
		{"an error cleared and still there", "member.error_cleared", set("data.member.error", object{
			"error_code": 1, "error_type": nil, "error_message": nil, "user_message": nil, "locale": nil,
		})},
		{"an error cleared that never was", "member.error_cleared", set("data.previous.error", nil)},
		{"an error cleared that is not told", "member.error_cleared", drop("data.previous.error")},
		{"attributes changed with the status", "member.attributes_changed", set("data.changed", []any{"name", "connection_status"})},
		{"aggregated without a success", "member.aggregated", set("data.member.successfully_aggregated_at", nil)},
		{"aggregated without a change of it", "member.aggregated", set("data.changed", []any{"aggregated_at"})},
		{"a discovery of something else", "member.discovered", set("data.changed", []any{"name"})},
		{"a deletion that is none", "member.deleted", set("data.deleted", false)},
		{"a deletion with other changes", "member.deleted", set("data.changed", []any{"deleted", "name"})},
		{"a deletion that leaves a need", "member.deleted", set("data.oauth_required", true)},
		{"a deletion of what was deleted", "member.deleted", set("data.previous.deleted", true)},

		// The command.
		{"a user that is missing", "member.refresh", drop("user")},
		{"a member that is a number", "member.refresh", set("member", 17)},
		{"a member with dots", "member.refresh", set("member", "a.b")},
		{"a user that is a path", "member.refresh", set("user", "..")},
		{"a wish that is a text", "member.refresh", set("aggregate", "yes")},

		// The result.
		{"a result of another type", "member.refresh.result.changed", set("type", "member.refresh")},
		{"a result with another schema", "member.refresh.result.changed", set("dataschema", events.TypePending.SchemaID())},
		{"a result from elsewhere", "member.refresh.result.changed", set("source", "/mx")},
		{"a result of no command", "member.refresh.result.changed", set("subject", "")},
		{"an outcome in capitals", "member.refresh.result.failed", set("data.outcome", "LOST")},
		{"a change without an event", "member.refresh.result.changed", drop("data.event_id")},
		{"a change without its type", "member.refresh.result.changed", drop("data.event_type")},
		{"a change without a revision", "member.refresh.result.changed", drop("data.revision")},
		{"an event without a change", "member.refresh.result.unchanged", set("data.event_id", "x")},
		{"an event type without a change", "member.refresh.result.unchanged", set("data.event_type", "member.connected")},
		{"a revision 0", "member.refresh.result.unchanged", set("data.revision", 0)},
		{"an empty command id", "member.refresh.result.failed", set("data.command_id", "")},
		{"an empty event id", "member.refresh.result.changed", set("data.event_id", "")},
		{"an event type with a prefix", "member.refresh.result.changed", set("data.event_type", "com.example.member.pending")},
		{"an empty reason of a failure", "member.refresh.result.failed", set("data.reason", "")},
		{"a user's guid with a wildcard", "member.refresh.result.unchanged", set("data.user_guid", "*")},
		{"a guid with dots", "member.refresh.result.unchanged", set("data.member_guid", "a.b")},

		// The dead letter.
		{"a category that is no token", "deadletter", set("category", "a.b")},
		{"a body that is not base64", "deadletter", set("body", "{}")},
		{"a body too long", "deadletter", set("body", strings.Repeat("A", (events.MaxDeadLetterBody+2)/3*4+4))},
		{"a negative size", "deadletter", set("body_size", -1)},
		{"a digest in upper case", "deadletter", set("body_sha256", strings.Repeat("A", 64))},
		{"headers that are no lists", "deadletter", set("headers", object{"a": "b"})},
		{"headers that are no texts", "deadletter", set("headers", object{"a": []any{1}})},
		{"an empty subject", "deadletter", set("subject", "")},
		{"an empty stream", "deadletter", set("stream", "")},
		{"sequence 0", "deadletter", set("sequence", 0)},
		{"no reason", "deadletter", set("reason", "")},
		{"no attempt", "deadletter", set("attempts", 0)},
		{"a death without a time", "deadletter", set("dead_at", "now")},

		// Requests and answers.
		{"a request without a user", "api.get.request", drop("user")},
		{"a request for a member with dots", "api.get.request", set("member", "a.b")},
		{"more time than there is", "api.refresh.request", set("timeout_ms", 60_001)},
		{"a command id with a wildcard", "api.refresh.request", set("command_id", "*")},
		{"an unknown referral", "api.oauth_uri.request", set("referral_source", "PHONE")},
		{"a way back without a referral", "api.oauth_uri.request", drop("referral_source")},
		{"a way back that is a path", "api.oauth_uri.request", set("client_redirect_url", "/done")},
		{"a scheme with a colon", "api.oauth_uri.request", set("ui_message_webview_url_scheme", "myapp:")},
		{"an answer that failed", "api.refresh.response", set("result.outcome", "failed")},
		{"an answer about a member that MX does not know", "api.refresh.response", set("result.outcome", "not_found")},
		{"an answer about nobody", "api.refresh.response.no_state", drop("result.member_guid")},
		{"an answer without its state", "api.refresh.response", drop("state")},
		{"a state without a member", "api.refresh.response", drop("state.member")},
		{"a URI in a state", "api.refresh.response", set("state.oauth_window_uri", "https://mxbank.example/")},
		{"a URI in the last state", "api.get.response", set("state.oauth_window_uri", "https://mxbank.example/")},
		{"a last state that is null", "api.get.response", set("state", nil)},
		{"a type with a prefix", "api.get.response", set("event_type", "com.example.member.pending")},
		{"an empty URI", "api.oauth_uri.response", set("oauth_window_uri", "")},
		{"a URI that is null", "api.oauth_uri.response", set("oauth_window_uri", nil)},
		{"a code that is none", "api.error", set("code", "teapot")},
		{"a code that is a number", "api.error", set("code", 400)},
		{"an error without words", "api.error", set("message", "")},
	}
	for _, r := range rules {
		name := r.golden + ".json"
		if err := checkAs(v, name)(mutated(t, name, r.spoil)); !errors.Is(err, validate.ErrInvalid) {
			t.Errorf("%s (%s): %v, want ErrInvalid", r.name, r.golden, err)
		}
	}
}

func TestEveryFieldThatIsAlwaysThereIsRequired(t *testing.T) {
	t.Parallel()
	v := validator(t)
	for golden, places := range map[string][]string{
		"member.error_raised": {
			"specversion", "id", "source", "type", "subject", "datacontenttype", "dataschema", "time", "partitionkey", "sequence", "data",
			"data.member", "data.previous", "data.changed", "data.action", "data.action.actor", "data.action.kind",
			"data.oauth_required", "data.provisional", "data.deleted", "data.revision", "data.observed_at",
			"data.member.error.error_code", "data.member.error.error_type", "data.member.error.error_message",
			"data.member.error.user_message", "data.member.error.locale",
		},
		"member.refresh": {"user", "member"},
		"member.refresh.result.failed": {
			"specversion", "id", "source", "type", "subject", "datacontenttype", "dataschema", "time", "correlationid", "data",
			"data.command_id", "data.outcome", "data.finished_at",
		},
		"deadletter": {
			"headers", "body", "body_size", "body_sha256", "subject", "stream", "sequence", "reason", "category", "attempts", "first_at", "dead_at",
		},
		"api.refresh.request":    {"user", "member"},
		"api.refresh.response":   {"result", "result.command_id", "result.outcome", "result.user_guid", "result.finished_at", "state", "state.revision"},
		"api.get.request":        {"user", "member"},
		"api.get.response":       {"user_guid", "member_guid", "event_id", "event_type", "state", "state.revision"},
		"api.oauth_uri.request":  {"user", "member"},
		"api.oauth_uri.response": {"oauth_window_uri"},
		"api.error":              {"code", "message"},
	} {
		for _, place := range places {
			if err := checkAs(v, golden+".json")(mutated(t, golden+".json", drop(place))); !errors.Is(err, validate.ErrInvalid) {
				t.Errorf("%s without %s: %v, want ErrInvalid", golden, place, err)
			}
		}
	}
	for _, field := range events.MemberFields() {
		if err := v.Event(mutated(t, "member.error_raised.json", drop("data.member."+field))); !errors.Is(err, validate.ErrInvalid) {
			t.Errorf("a member without %s: %v, want ErrInvalid", field, err)
		}
	}
}

// TestEveryTypeRefusesTheDataOfAnother holds the schema of each status against
// the golden files of the others, relabeled, and then what all types must refuse.
func TestEveryTypeRefusesTheDataOfAnother(t *testing.T) {
	t.Parallel()
	v := validator(t)
	for e := range events.Types() {
		if e.Status == "" {
			continue
		}
		for other := range events.Types() {
			if other.Status == "" || other == e {
				continue
			}
			name := string(other.Type) + ".json"
			relabeled := mutated(t, name, set("type", e.Type), set("dataschema", e.Type.SchemaID()))
			if err := v.Event(relabeled); !errors.Is(err, validate.ErrInvalid) {
				t.Errorf("the data of %s pass for %s", other.Type, e.Type)
			}
		}
	}
	for e := range events.Types() {
		name := string(e.Type) + ".json"
		if err := v.Event(mutated(t, name, set("data.deleted", e.Type != events.TypeDeleted))); !errors.Is(err, validate.ErrInvalid) {
			t.Errorf("%s of a member with the wrong deleted: %v", e.Type, err)
		}
		if e.Type == events.TypeOAuthRequired {
			continue
		}
		if err := v.Event(mutated(t, name, set("data.oauth_window_uri", "https://mxbank.example/"))); !errors.Is(err, validate.ErrInvalid) {
			t.Errorf("%s with a URI: %v", e.Type, err)
		}
	}
}

// TestEveryValueOfAnotherJSONTypeIsRefused replaces each value of the golden
// files, one at a time, by one that no field may have.
func TestEveryValueOfAnotherJSONTypeIsRefused(t *testing.T) {
	t.Parallel()
	v := validator(t)
	for _, golden := range []string{
		"member.error_raised", "member.connected.prefixed", "member.impaired", "member.oauth_required",
		"member.refresh", "member.refresh.result.changed", "deadletter",
		"api.refresh.request", "api.refresh.response", "api.get.request", "api.get.response",
		"api.oauth_uri.request", "api.oauth_uri.response", "api.error",
	} {
		name := golden + ".json"
		for _, place := range places(t, name) {
			if err := checkAs(v, name)(mutated(t, name, set(place, 7.5))); !errors.Is(err, validate.ErrInvalid) {
				t.Errorf("%s with 7.5 at %s: %v, want ErrInvalid", golden, place, err)
			}
		}
	}
}

// places lists every place of a golden file that has a name.
func places(t *testing.T, name string) []string {
	t.Helper()
	var message object
	if err := json.Unmarshal(golden(t, name), &message); err != nil {
		t.Fatal(err)
	}
	var found []string
	var walk func(prefix string, o object)
	walk = func(prefix string, o object) {
		for key, value := range o {
			found = append(found, prefix+key)
			if inner, ok := value.(object); ok {
				walk(prefix+key+".", inner)
			}
		}
	}
	walk("", message)
	return found
}
