package client

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"
)

func TestMemoryForgetsWhatWasUsedLongestAgo(t *testing.T) {
	t.Parallel()
	r := newRecent[string, int](2)
	r.put("a", 1)
	r.put("b", 2)
	r.put("a", 3)
	r.put("c", 4)
	if _, ok := r.get("b"); ok {
		t.Error("b was used longest ago and is remembered")
	}
	if a, ok := r.get("a"); !ok || a != 3 {
		t.Errorf("a is %d, %v; want 3", a, ok)
	}
	if c, ok := r.get("c"); !ok || c != 4 {
		t.Errorf("c is %d, %v; want 4", c, ok)
	}
	if len(r.byKey) != 2 || r.order.Len() != 2 {
		t.Errorf("memory of 2 holds %d keys and %d values", len(r.byKey), r.order.Len())
	}
}

func TestFilterCoversWhatItMatches(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		a, b string
		want bool
	}{
		{"mx.events.>", "mx.events.member.*.*.*", true},
		{"mx.events.member.*.*.*", "mx.events.member.closed.*.*", true},
		{"mx.events.member.closed.*.*", "mx.events.member.closed.*.*", true},
		{"mx.events.member.closed.*.*", "mx.events.member.*.*.*", false},
		{"mx.events.member.closed.*.*", "mx.events.member.denied.*.*", false},
		{"mx.events.member.*.*.*", "mx.events.>", false},
		{"mx.events.member.*", "mx.events.member.closed.*.*", false},
		{"mx.events.member.closed.*.*", "mx.events", false},
		{"mx.>", "mx", false},
		{">", "mx.events.member.*.*.*", true},
	} {
		if got := covers(tc.a, tc.b); got != tc.want {
			t.Errorf("covers(%q, %q) = %v, want %v", tc.a, tc.b, got, tc.want)
		}
	}
}

func TestSubjectsOfAStreamAreWhatItsConfigurationTells(t *testing.T) {
	t.Parallel()
	const want = "mx.events.member.*.*.*"
	transformed := func(destination string) []*jetstream.StreamSource {
		return []*jetstream.StreamSource{{SubjectTransforms: []jetstream.SubjectTransformConfig{{Source: "mx.>", Destination: destination}}}}
	}
	for name, tc := range map[string]struct {
		c    jetstream.StreamConfig
		want bool
	}{
		"its own":                  {jetstream.StreamConfig{Subjects: []string{"mx.events.>"}}, true},
		"one of them":              {jetstream.StreamConfig{Subjects: []string{"shop", "mx.*.*.closed.USR-1.*"}}, true},
		"others":                   {jetstream.StreamConfig{Subjects: []string{"mx.commands.>", "mx.events.member"}}, false},
		"a mirror's":               {jetstream.StreamConfig{Mirror: &jetstream.StreamSource{Name: "A"}}, true},
		"a part of a mirror's":     {jetstream.StreamConfig{Mirror: &jetstream.StreamSource{FilterSubject: "mx.oauth.>"}}, false},
		"a source's":               {jetstream.StreamConfig{Sources: []*jetstream.StreamSource{{Name: "A"}}}, true},
		"a prefix added":           {jetstream.StreamConfig{Sources: transformed("copy.mx.>")}, false},
		"kept":                     {jetstream.StreamConfig{Sources: transformed("mx.>")}, true},
		"filtered only":            {jetstream.StreamConfig{Sources: transformed("")}, true},
		"moved about":              {jetstream.StreamConfig{Sources: transformed("mx.events.member.{{wildcard(3)}}.$2.$1")}, true},
		"moved away":               {jetstream.StreamConfig{Sources: transformed("mx.events.member.$1.$2")}, false},
		"split":                    {jetstream.StreamConfig{Sources: transformed("mx.{{split(1,-)}}")}, true},
		"transformed when stored":  {jetstream.StreamConfig{Subjects: []string{"a"}, SubjectTransform: &jetstream.SubjectTransformConfig{Destination: want}}, true},
		"one source of two's will": {jetstream.StreamConfig{Sources: append(transformed("a.>"), transformed("mx.>")...)}, true},
	} {
		held := subjectsOf(tc.c)
		if got := slices.ContainsFunc(held, func(h string) bool { return overlap(h, want) }); got != tc.want {
			t.Errorf("%s, %q: events can be there is %v, want %v", name, held, got, tc.want)
		}
	}
}

func TestConsumerIsWidenedWithoutOverlap(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		have      jetstream.ConsumerConfig
		add, want []string
	}{
		"another type": {
			jetstream.ConsumerConfig{FilterSubject: "e.closed.*.*"},
			[]string{"e.denied.*.*"},
			[]string{"e.closed.*.*", "e.denied.*.*"},
		},
		"one of two is there": {
			jetstream.ConsumerConfig{FilterSubjects: []string{"e.a.*.*", "e.b.*.*"}},
			[]string{"e.b.*.*", "e.c.*.*"},
			[]string{"e.a.*.*", "e.b.*.*", "e.c.*.*"},
		},
		"all types": {
			jetstream.ConsumerConfig{FilterSubjects: []string{"e.a.*.*", "e.b.*.*"}},
			[]string{"e.*.*.*"},
			[]string{"e.*.*.*"},
		},
	} {
		got := widened(tc.have, tc.add)
		if diff := cmp.Diff(tc.want, filtersOf(got)); diff != "" || got.FilterSubject != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestBackoffGrowsToItsBoundWithJitter(t *testing.T) {
	t.Parallel()
	for failed, most := range map[int]time.Duration{
		1: time.Second, 2: 2 * time.Second, 3: 4 * time.Second, 6: 32 * time.Second, 7: time.Minute, 100: time.Minute, 1 << 30: time.Minute,
	} {
		var all []time.Duration
		for range 200 {
			all = append(all, backoff(failed))
		}
		if least := slices.Min(all); least < most/2 {
			t.Errorf("after %d failures it may wait %s, want at least %s", failed, least, most/2)
		}
		if got := slices.Max(all); got > most {
			t.Errorf("after %d failures it may wait %s, want at most %s", failed, got, most)
		}
		if len(slices.Compact(all)) < 10 {
			t.Errorf("after %d failures it always waits about %s", failed, all[0])
		}
	}
}

func TestMirrorsSubjectsStillTellTheMember(t *testing.T) {
	t.Parallel()
	for subject, want := range map[string]string{
		"mx.events.member.closed.USR-1.MBR-1":         "USR-1.MBR-1",
		"copy.eu.mx.events.member.denied.USR-1.MBR-1": "USR-1.MBR-1",
		"a.b": "a.b",
		"a":   "a",
	} {
		if got := memberOf(subject); got != want {
			t.Errorf("memberOf(%q) = %q, want %q", subject, got, want)
		}
	}
}
