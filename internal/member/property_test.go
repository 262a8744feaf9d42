package member_test

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/memberwatch/memberwatch/events"
	"github.com/memberwatch/memberwatch/internal/member"
)

// drawReading draws what MX might answer; what it says of each field is mostly
// as before, so that changes come alone as well as together.
func drawReading(t *rapid.T, before *member.Reading, at time.Time) member.Reading {
	r := *before
	r.At, r.Member.GUID, r.Member.UserGUID = at, memberGUID, userGUID
	r.Member.Missing = nil
	fresh := func(field string) bool { return rapid.IntRange(0, 3).Draw(t, field+" is asked for") == 0 }

	texts := rapid.SampledFrom([]*string{nil, new(""), new("a"), new("b")})
	for field, p := range textsOf(&r.Member) {
		if fresh(field) {
			*p = texts.Draw(t, field)
		}
		if *p == nil && rapid.Bool().Draw(t, field+" is absent") {
			r.Member.Missing = append(r.Member.Missing, field)
		}
	}
	slices.Sort(r.Member.Missing)
	if fresh("connection_status") {
		r.Member.ConnectionStatus = drawStatus(t)
	}
	if fresh("error") {
		r.Member.Error = drawError(t)
	}
	truths := rapid.SampledFrom([]*bool{nil, new(false), new(true)})
	for field, p := range flagsOf(&r.Member) {
		if fresh(field) {
			*p = truths.Draw(t, field)
		}
	}
	if fresh("use_cases") {
		r.Member.UseCases = rapid.SampledFrom([][]string{
			nil, {}, {"PFM"}, {"PFM", "PFM"}, {"MONEY_MOVEMENT", "PFM"}, {"PFM", "MONEY_MOVEMENT"}, {"A_NEW_ONE"},
		}).Draw(t, "use_cases")
	}
	if fresh("aggregated_at") {
		r.Member.AggregatedAt = drawTime(t)
	}
	if fresh("successfully_aggregated_at") {
		r.Member.SuccessfullyAggregatedAt = drawTime(t)
	}
	if fresh("oauth_window_uri") {
		r.HasURI = rapid.Bool().Draw(t, "oauth_window_uri")
	}
	return r
}

// textsOf and flagsOf yield in the order of the fields, so that a failure can be drawn again.
func textsOf(m *events.Member) func(func(string, **string) bool) {
	return func(yield func(string, **string) bool) {
		for _, f := range events.MemberFields() {
			p := &m.ConnectionStatusMessage
			if text := texts[f]; text != nil {
				p = text(m)
			} else if f != "connection_status_message" {
				continue
			}
			if !yield(f, p) {
				return
			}
		}
	}
}

func flagsOf(m *events.Member) func(func(string, **bool) bool) {
	return func(yield func(string, **bool) bool) {
		for _, f := range events.MemberFields() {
			p := &m.IsBeingAggregated
			if flag := flags[f]; flag != nil {
				p = flag(m)
			} else if f != "is_being_aggregated" {
				continue
			}
			if !yield(f, p) {
				return
			}
		}
	}
}

func drawStatus(t *rapid.T) *events.Status {
	known := rapid.SampledFrom(append(events.Statuses(), "QUARANTINED", "DELETED", "AGGREGATED"))
	often := rapid.SampledFrom([]events.Status{"CONNECTED", "PENDING", "DENIED", "DEGRADED", "UPDATED"})
	s := rapid.OneOf(known, often, rapid.Just(events.Status(""))).Draw(t, "connection_status")
	if s == "" {
		return nil
	}
	return &s
}

func drawError(t *rapid.T) *events.Error {
	if rapid.Bool().Draw(t, "no error") {
		return nil
	}
	words := rapid.SampledFrom([]*string{nil, new("x"), new("y")})
	return &events.Error{
		Code:        rapid.SampledFrom([]*int{nil, new(0), new(2004), new(2005), new(3000)}).Draw(t, "error_code"),
		Type:        rapid.SampledFrom([]*string{nil, new("MEMBER"), new("INSTITUTION")}).Draw(t, "error_type"),
		Message:     words.Draw(t, "error_message"),
		UserMessage: words.Draw(t, "user_message"),
		Locale:      words.Draw(t, "locale"),
	}
}

func drawTime(t *rapid.T) *time.Time {
	zone := rapid.SampledFrom([]*time.Location{time.UTC, time.FixedZone("", -5*60*60)}).Draw(t, "zone")
	minutes := rapid.IntRange(-1, 5).Draw(t, "minutes")
	if minutes < 0 {
		return nil
	}
	return new(epoch.Add(time.Duration(minutes) * time.Minute).In(zone))
}

func drawRules(t *rapid.T) member.Rules {
	return member.Rules{
		InitialEvents: rapid.Bool().Draw(t, "INITIAL_EVENTS"),
		Aggregated:    rapid.Bool().Draw(t, "AGGREGATED_EVENTS"),
	}
}

// step is one thing that happened on a walk.
type step struct {
	before, now member.State
	reading     *member.Reading // nil: MX answered 404
	rules       member.Rules
	event       event // zero: nothing happened
}

// walk lets MX answer one thing after another, and now and then 404.
func walk(t *rapid.T, visit func(step)) {
	var (
		s     member.State
		last  member.Reading
		rules = drawRules(t)
		at    = epoch.Add(24 * time.Hour)
	)
	for range rapid.IntRange(1, 12).Draw(t, "steps") {
		at = at.Add(time.Second)
		x := step{before: s, now: s, rules: rules}
		if rapid.IntRange(0, 7).Draw(t, "404") == 0 {
			if typ, d, ok := s.Gone(at); ok {
				x.event = event{typ, d}
			}
		} else {
			last = drawReading(t, &last, at)
			x.reading = new(last)
			x.event = observe(&s, last, rules)
		}
		if x.event.Type != "" {
			x.now = member.StateOf(&x.event.Data)
		}
		visit(x)
		s = x.now
	}
}

func TestSameAnswerTwiceIsNothingNewTheSecondTime(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		walk(t, func(x step) {
			if x.reading == nil {
				if typ, _, again := x.now.Gone(epoch); again {
					t.Fatalf("gone twice makes %s", typ)
				}
				return
			}
			if again := observe(&x.now, *x.reading, x.rules); again.Type != "" {
				t.Fatalf("the same answer again makes %s with changed %v", again.Type, again.Data.Changed)
			}
		})
	})
}

// fields is all that an event says of a member, as JSON values by name.
func fields(t *rapid.T, s member.State) map[string]any {
	t.Helper()
	m := map[string]any{}
	if s.Known() {
		m = fieldsOf(t, s.Snapshot)
	} else {
		for _, f := range events.MemberFields() {
			m[f] = nil
		}
	}
	m[events.FieldOAuthRequired], m[events.FieldProvisional], m[events.FieldDeleted] = s.OAuthRequired, s.Provisional, s.Deleted
	return m
}

func TestFoldingAnEventOverTheFormerStateGivesTheNewOne(t *testing.T) {
	t.Parallel()
	order := append(events.MemberFields(), events.FieldOAuthRequired, events.FieldProvisional, events.FieldDeleted)
	rapid.Check(t, func(t *rapid.T) {
		walk(t, func(x step) {
			if x.event.Type == "" {
				return
			}
			old, now, d := fields(t, x.before), fields(t, x.now), x.event.Data
			if (d.Previous == nil) != (x.before.Revision == 0) || x.before.Known() && len(d.Previous) != len(d.Changed) {
				t.Fatalf("previous %s does not fit to changed %v at revision %d", d.Previous, d.Changed, d.Revision)
			}
			var changed []string
			for _, f := range order {
				if !slices.Contains(d.Changed, f) {
					if !reflect.DeepEqual(old[f], now[f]) && !endsUnnamed(x.event.Type, f) {
						t.Fatalf("%s went from %v to %v, and changed does not name it", f, old[f], now[f])
					}
					continue
				}
				changed = append(changed, f)
				if reflect.DeepEqual(old[f], now[f]) {
					t.Fatalf("%s is %v as before, and changed names it", f, now[f])
				}
				var previous any
				if raw, ok := d.Previous[f]; ok && json.Unmarshal(raw, &previous) != nil {
					t.Fatalf("previous %s is not JSON: %s", f, raw)
				}
				if x.before.Known() && !reflect.DeepEqual(previous, old[f]) {
					t.Fatalf("previous %s is %v, it was %v", f, previous, old[f])
				}
			}
			if !slices.Equal(changed, d.Changed) {
				t.Fatalf("changed is %v, want each field once and in the order of the fields", d.Changed)
			}
		})
	})
}

// endsUnnamed reports whether field is one that a deletion ends without naming it.
func endsUnnamed(typ events.Type, field string) bool {
	return typ == events.TypeDeleted && (field == events.FieldOAuthRequired || field == events.FieldProvisional)
}

// comparedOf is what makes an event when it changes.
func comparedOf(t *rapid.T, s member.State, aggregated bool) map[string]any {
	t.Helper()
	m := fields(t, s)
	for _, f := range []string{"connection_status_message", "is_being_aggregated", "aggregated_at"} {
		delete(m, f)
	}
	if !aggregated {
		delete(m, "successfully_aggregated_at")
	}
	if e, ok := m["error"].(map[string]any); ok {
		m["error"] = fmt.Sprint(e["error_code"], "/", e["error_type"])
	}
	return m
}

func TestWalkGivesRevisionsWithoutGapAndNoEventTwice(t *testing.T) {
	t.Parallel()
	key, err := events.NewKey(userGUID, memberGUID)
	if err != nil {
		t.Fatal(err)
	}
	subjects, err := events.NewSubjects(events.DefaultPrefix)
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(t *rapid.T) {
		var revision uint64
		ids := map[string]bool{}
		walk(t, func(x step) {
			if x.event.Type == "" {
				return
			}
			if revision++; x.event.Data.Revision != revision {
				t.Fatalf("revision %d, want %d", x.event.Data.Revision, revision)
			}
			if x.before.Known() {
				old, now := comparedOf(t, x.before, x.rules.Aggregated), comparedOf(t, x.now, x.rules.Aggregated)
				if reflect.DeepEqual(old, now) {
					t.Fatalf("%s with changed %v, and nothing that is compared differs", x.event.Type, x.event.Data.Changed)
				}
			}

			e := events.New(subjects, x.event.Type, key, x.event.Data)
			if ids[e.ID] {
				t.Fatalf("id %s twice", e.ID)
			}
			ids[e.ID] = true
			raw, err := e.Encode()
			if err != nil {
				t.Fatal(err)
			}
			stored, err := events.Decode(raw)
			if err != nil {
				t.Fatal(err)
			}
			if stored.ID != e.ID || events.New(subjects, stored.Type, stored.Key, stored.Data).ID != e.ID {
				t.Fatalf("id %s is another one after a way through the stream", e.ID)
			}
		})
	})
}

// TestNothingThatMattersIsPassedOver holds the state that a read leads to, by
// an event or by none, against what MX said.
func TestNothingThatMattersIsPassedOver(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		walk(t, func(x step) {
			if x.reading == nil {
				return
			}
			said, known := comparedOf(t, member.State{Snapshot: x.reading.Member, Revision: 1}, false), comparedOf(t, x.now, false)
			for f, v := range said {
				switch {
				case f == events.FieldOAuthRequired || f == events.FieldProvisional:
				case f == "error", v != nil && texts[f] != nil, v == nil && texts[f] != nil && !x.reading.Member.Lacks(f):
					if v != known[f] {
						t.Fatalf("%s: MX says %v, what is known is %v", f, v, known[f])
					}
				case v == nil, v == false && known[f] == nil && flags[f] != nil:
				case f == "use_cases":
					checkUseCases(t, x.reading.Member.UseCases, x.now.Snapshot.UseCases)
				case v != known[f]:
					t.Fatalf("%s: MX says %v, what is known is %v", f, v, known[f])
				}
			}
			if aggregating := x.reading.Member.IsBeingAggregated; aggregating != nil && !*aggregating && x.now.Provisional {
				t.Fatal("no aggregation runs, and the state is provisional")
			}
			if at, known := x.reading.Member.SuccessfullyAggregatedAt, x.now.Snapshot.SuccessfullyAggregatedAt; x.rules.Aggregated &&
				at != nil && (known == nil || known.Before(*at)) {
				t.Fatalf("MX says that an aggregation succeeded at %v, what is known is %v", at, known)
			}
		})
	})
}

func checkUseCases(t *rapid.T, said, known []string) {
	t.Helper()
	set := func(list []string) map[string]bool {
		m := map[string]bool{}
		for _, s := range list {
			m[s] = true
		}
		return m
	}
	if diff := cmp.Diff(set(said), set(known)); diff != "" {
		t.Fatalf("use cases (-said +known):\n%s", diff)
	}
}

func TestSnapshotThatLacksAFieldCausesNoEvent(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		walk(t, func(x step) {
			if x.reading == nil {
				return
			}
			field := rapid.SampledFrom(events.MemberFields()).Draw(t, "missing")
			s := without(t, x.now, field)
			same := saying(t, *x.reading, x.now.Snapshot, field)
			if got := observe(&s, same, x.rules); got.Type != "" {
				t.Fatalf("%s is missing: %s with changed %v", field, got.Type, got.Data.Changed)
			}
		})
	})
}

// saying is r with the field told as it is known, where r told nothing of it:
// what neither the snapshot nor the answer tells is lost.
func saying(t *rapid.T, r member.Reading, known events.Member, field string) member.Reading {
	t.Helper()
	said, missing := fieldsOf(t, r.Member), r.Member.Missing
	if said[field] == nil && field != "error" {
		said[field] = fieldsOf(t, known)[field]
		missing = slices.DeleteFunc(slices.Clone(missing), func(f string) bool { return f == field })
	}
	r.Member = decodeMember(t, encode(t, said))
	r.Member.Missing = missing
	return r
}

func TestStateReadFromTheStreamBehavesAsTheOneInMemory(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var stored member.State
		walk(t, func(x step) {
			var got event
			if x.reading != nil {
				got = observe(&stored, *x.reading, x.rules)
			} else if typ, d, ok := stored.Gone(x.event.Data.ObservedAt); ok {
				got = event{typ, d}
			}
			want := encode(t, x.event.Data)
			if got.Type != x.event.Type || string(encode(t, got.Data)) != string(want) {
				t.Fatalf("from the stream %s:\n%s\nin memory %s:\n%s", got.Type, encode(t, got.Data), x.event.Type, want)
			}
			if got.Type != "" {
				var d events.Data
				if err := json.Unmarshal(want, &d); err != nil {
					t.Fatal(err)
				}
				if d.Member.Missing != nil {
					t.Fatalf("the event lacks %v", d.Member.Missing)
				}
				stored = member.StateOf(&d)
			}
		})
	})
}
