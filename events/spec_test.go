package events_test

import (
	"encoding/json"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/memberwatch/memberwatch/events"
)

// TestWhatIsPublishedFollowsTheTextOfCloudEvents holds every event and result
// against the sentences of CloudEvents 1.0, its JSON format, and its registry of
// extensions, attribute by attribute. That SDKs accept them is another test.
func TestWhatIsPublishedFollowsTheTextOfCloudEvents(t *testing.T) {
	t.Parallel()
	uri := func(v string) bool { u, err := url.Parse(v); return err == nil && u.IsAbs() }
	reference := func(v string) bool { u, err := url.Parse(v); return err == nil && u.String() == v }
	known := map[string]bool{}
	for name, rule := range map[string]struct {
		required bool
		valid    func(v string) bool
	}{
		"specversion": {true, func(v string) bool { return v == "1.0" }}, // MUST for this version
		"id":          {true, utf8.ValidString},
		"source":      {true, reference}, // non-empty URI-reference
		"type":        {true, func(v string) bool { return strings.Contains(v, "member.") }},
		"subject":     {true, utf8.ValidString}, // optional in the spec, not in our contract
		"time": {true, func(v string) bool { // RFC 3339; in our contract UTC
			at, err := time.Parse(time.RFC3339Nano, v)
			return err == nil && strings.HasSuffix(v, "Z") && at.Location() == time.UTC
		}},
		"datacontenttype": {true, func(v string) bool { return v == "application/json" }},
		"dataschema":      {true, uri},                                            // a URI, not a reference
		"partitionkey":    {false, utf8.ValidString},                              // non-empty
		"sequence":        {false, regexp.MustCompile(`^[0-9]{20}$`).MatchString}, // lexicographically orderable
		"correlationid":   {false, utf8.ValidString},
		"traceparent":     {false, regexp.MustCompile(`^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$`).MatchString}, // W3C
		"tracestate":      {false, regexp.MustCompile(`^[ -~]{1,512}$`).MatchString},
		"reason":          {false, utf8.ValidString}, // our own
	} {
		for file, attributes := range published(t) {
			v, ok := attributes[name]
			switch text, isText := v.(string); {
			case !ok && rule.required:
				t.Errorf("%s: no %s", file, name)
			case ok && (!isText || text == "" || !rule.valid(text)):
				t.Errorf("%s: %s is %v", file, name, v)
			}
		}
		known[name] = true
	}
	attributeName := regexp.MustCompile(`^[a-z0-9]{1,20}$`)
	for file, attributes := range published(t) {
		for name := range attributes {
			if !attributeName.MatchString(name) || name != "data" && !known[name] {
				t.Errorf("%s: attribute %q has no rule here, or no name that the spec allows", file, name)
			}
		}
		// JSON format 3.1.1: JSON data stand as a value, not as a text of JSON, and data
		// and data_base64 exclude each other.
		if _, ok := attributes["data"].(map[string]any); !ok {
			t.Errorf("%s: data are %T", file, attributes["data"])
		}
	}
}

// published returns the attributes of every golden CloudEvent, by file.
func published(t *testing.T) map[string]map[string]any {
	t.Helper()
	all := map[string]map[string]any{}
	for _, file := range goldenNames(t, goldenDir) {
		var attributes map[string]any
		if err := json.Unmarshal(readGolden(t, file), &attributes); err != nil {
			t.Fatal(err)
		}
		if attributes["specversion"] != nil {
			all[file] = attributes
		}
	}
	return all
}

// TestAttributesThatOrderAndTellApartAreStable says what consumers may rely on
// beyond one event: id with source tells events apart, sequence orders those of a
// source.
func TestAttributesThatOrderAndTellApartAreStable(t *testing.T) {
	t.Parallel()
	d := pendingEvent(t).Data
	var sequences []string
	seen := map[string]bool{}
	for _, revision := range []uint64{1, 2, 9, 10, 99, 1 << 32, 1<<64 - 1} {
		d.Revision = revision
		e := events.New(subjects(t), events.TypePending, key(t), d)
		again := events.New(subjects(t), events.TypePending, key(t), d)
		if seen[e.ID] || again.ID != e.ID || again.Source != e.Source || e.Announcement("").ID == e.ID || e.Announcement("").Source != e.Source {
			t.Errorf("revision %d: id %s, source %s; again %s, %s", revision, e.ID, e.Source, again.ID, again.Source)
		}
		seen[e.ID] = true
		sequences = append(sequences, e.Sequence())
	}
	if !slices.IsSorted(sequences) {
		t.Errorf("sequences are not in the order of texts: %q", sequences)
	}
}
