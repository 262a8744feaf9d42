package member_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/memberwatch/memberwatch/events"
	"github.com/memberwatch/memberwatch/internal/member"
)

func keyOf(tb rapid.TB) events.Key {
	tb.Helper()
	k, err := events.NewKey(userGUID, memberGUID)
	if err != nil {
		tb.Fatal(err)
	}
	return k
}

// wantUnpacked checks that s comes out of its bytes as it went in.
func wantUnpacked(tb rapid.TB, name string, s member.State) {
	tb.Helper()
	packed := s
	s.Snapshot.GUID, s.Snapshot.UserGUID = memberGUID, userGUID
	for _, words := range []*member.Words{nil, member.NewWords()} {
		front := []byte("front")
		b, ok := bytes.CutPrefix(packed.Pack(front, words), front)
		if !ok {
			tb.Errorf("%s: what was in front is gone", name)
		}
		got := member.Unpack(string(b), keyOf(tb), words)
		if !reflect.DeepEqual(s, got) { // unlike cmp, it tells one zone from another
			tb.Errorf("%s: unpacked (-want +got):\n%s\n%+v\n%+v", name, cmp.Diff(s, got), s, got)
		}
	}
}

// inUTC is m with its times as MX's client delivers them.
func inUTC(m events.Member) events.Member {
	for _, t := range []**time.Time{&m.AggregatedAt, &m.SuccessfullyAggregatedAt} {
		if *t != nil {
			*t = new((*t).UTC())
		}
	}
	return m
}

// leaves are the places of a state that hold one value each, by name; v must be settable.
func leaves(t *testing.T, name string, v reflect.Value, visit func(string, reflect.Value)) {
	t.Helper()
	switch {
	case v.Type() == reflect.TypeFor[*events.Error]():
		visit(name, v)
		if v.IsNil() {
			v.Set(reflect.ValueOf(new(events.Error)))
		}
		leaves(t, name, v.Elem(), visit)
	case v.Kind() == reflect.Struct:
		for f, field := range v.Fields() {
			leaves(t, name+"."+f.Name, field, visit)
		}
	default:
		visit(name, v)
	}
}

// fill gives a place a value of its own, made of n.
func fill(t *testing.T, name string, place reflect.Value, n int) {
	t.Helper()
	switch p := place.Addr().Interface().(type) {
	case *bool:
		*p = true
	case *uint64:
		*p = uint64(n)
	case *string:
		*p = fmt.Sprint("text ", n)
	case **string:
		*p = new(fmt.Sprint("text ", n))
	case **events.Status:
		*p = new(events.Status(fmt.Sprint("STATUS_", n)))
	case **bool:
		*p = new(n%2 == 0)
	case **int:
		*p = new(n)
	case **time.Time:
		*p = new(epoch.Add(time.Duration(n)))
	case *[]string:
		*p = []string{"one", fmt.Sprint("text ", n)}
	case **events.Error:
		*p = new(events.Error)
	default:
		t.Fatalf("%s is a %T, of which this test knows no value", name, p)
	}
}

func TestPackingForgetsNoField(t *testing.T) {
	t.Parallel()
	var full member.State
	n := 0
	leaves(t, "State", reflect.ValueOf(&full).Elem(), func(name string, v reflect.Value) {
		n++
		fill(t, name, v, n)
		wantUnpacked(t, "up to "+name, full)
	})
	if fields := reflect.TypeFor[events.Member]().NumField(); n < fields {
		t.Fatalf("%d values visited, a member alone has %d", n, fields)
	}
	leaves(t, "State", reflect.ValueOf(&full).Elem(), func(name string, v reflect.Value) {
		old := reflect.ValueOf(v.Interface())
		v.SetZero()
		wantUnpacked(t, "all but "+name, full)
		v.Set(old)
	})
	n = 0
	var none member.State
	leaves(t, "State", reflect.ValueOf(&none).Elem(), func(name string, v reflect.Value) {
		for range 2 { // a flag is false at one turn and true at the other
			n++
			fill(t, name, v, n)
			wantUnpacked(t, "only "+name, none)
		}
		v.SetZero()
	})
}

func TestPackedStateKeepsWhatIsEasilyLost(t *testing.T) {
	t.Parallel()
	zero := new(time.Time)
	for _, c := range []struct {
		name string
		edit func(*member.State)
	}{
		{"empty texts", func(s *member.State) {
			s.Snapshot.ID, s.Snapshot.ConnectionStatus = new(""), new(events.Status(""))
			s.Snapshot.Error = &events.Error{Type: new(""), Message: new(""), UserMessage: new(""), Locale: new("")}
		}},
		{"an error of which nothing is known", func(s *member.State) { s.Snapshot.Error = &events.Error{} }},
		{"code 0", func(s *member.State) { s.Snapshot.Error = &events.Error{Code: new(0)} }},
		{"a negative code", func(s *member.State) { s.Snapshot.Error = &events.Error{Code: new(-2004)} }},
		{"the greatest code", func(s *member.State) { s.Snapshot.Error = &events.Error{Code: new(math.MaxInt)} }},
		{"the least code", func(s *member.State) { s.Snapshot.Error = &events.Error{Code: new(math.MinInt)} }},
		{"the greatest of all numbers", func(s *member.State) {
			s.Revision = math.MaxUint64
			s.Snapshot.Error = &events.Error{Code: new(math.MinInt)}
			s.Snapshot.AggregatedAt = new(time.Unix(math.MaxInt64/2, 999_999_999).UTC())
			s.Snapshot.SuccessfullyAggregatedAt = new(time.Unix(math.MinInt64/2, 999_999_999).UTC())
		}},
		{"no use cases", func(s *member.State) { s.Snapshot.UseCases = nil }},
		{"an empty set of use cases", func(s *member.State) { s.Snapshot.UseCases = []string{} }},
		{"use cases without name or order", func(s *member.State) { s.Snapshot.UseCases = []string{"PFM", "", "A", ""} }},
		{"very many use cases", func(s *member.State) { s.Snapshot.UseCases = make([]string, 300) }},
		{"no fields missing", func(s *member.State) { s.Snapshot.Missing = []string{} }},
		{"all fields missing", func(s *member.State) { s.Snapshot.Missing = events.MemberFields() }},
		{"the first moment", func(s *member.State) { s.Snapshot.AggregatedAt = zero }},
		{"the last moment", func(s *member.State) {
			s.Snapshot.AggregatedAt = new(time.Date(9999, 12, 31, 23, 59, 59, 999_999_999, time.UTC))
		}},
		{"a nanosecond before 1970", func(s *member.State) { s.Snapshot.AggregatedAt = new(time.Unix(0, -1).UTC()) }},
		{"1970", func(s *member.State) { s.Snapshot.AggregatedAt = new(time.Unix(0, 0).UTC()) }},
		{"texts that need each length of length", func(s *member.State) {
			s.Snapshot.ID, s.Snapshot.UserID = new(strings.Repeat("a", 127)), new(strings.Repeat("b", 128))
			s.Snapshot.Name, s.Snapshot.InstitutionCode = new(strings.Repeat("c", 1<<14-1)), new(strings.Repeat("d", 1<<14))
			s.Snapshot.ConnectionStatusMessage = new(strings.Repeat("e", 1<<21))
		}},
		{"bytes that are no text", func(s *member.State) { s.Snapshot.Name = new("\x00\xff\xc3(") }},
	} {
		s := after(t, answer())
		c.edit(&s)
		wantUnpacked(t, c.name, s)
		s = member.State{}
		c.edit(&s)
		wantUnpacked(t, c.name+" and nothing else", s)
	}
	s := after(t, answer())
	est := s
	est.Snapshot.AggregatedAt = new(s.Snapshot.AggregatedAt.In(time.FixedZone("", -5*60*60)))
	if got := member.Unpack(string(est.Pack(nil, nil)), keyOf(t), nil); !reflect.DeepEqual(got, s) {
		t.Errorf("a time of another zone is %v, want %v", got.Snapshot.AggregatedAt, s.Snapshot.AggregatedAt)
	}
}

// TestPackedStateBehavesAsTheOriginal lets a state that went through its bytes
// and one that did not see the same answers.
func TestPackedStateBehavesAsTheOriginal(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var s member.State
		words := member.NewWords()
		walk(t, func(x step) {
			if s.Known() && rapid.IntRange(0, 3).Draw(t, "an older version wrote it") == 0 {
				s = without(t, s, rapid.SampledFrom(events.MemberFields()).Draw(t, "missing"))
				s.Snapshot.GUID, s.Snapshot.UserGUID = memberGUID, userGUID // the key has them all the same
			}
			wantUnpacked(t, "before", s)
			unpacked := member.Unpack(string(s.Pack(nil, words)), keyOf(t), words)
			var got, want event
			if x.reading != nil {
				r := *x.reading
				r.Member = inUTC(r.Member)
				got, want = observe(&unpacked, r, x.rules), observe(&s, r, x.rules)
			} else {
				got.Type, got.Data, _ = unpacked.Gone(epoch)
				want.Type, want.Data, _ = s.Gone(epoch)
			}
			if !reflect.DeepEqual(got, want) {
				t.Fatalf("unpacked (-want +got):\n%s", cmp.Diff(want, got))
			}
			if want.Type != "" {
				s = member.StateOf(&want.Data)
			}
		})
	})
}

// readable gives Unpack bytes that Pack did not return, and reports whether it returned.
func readable(tb rapid.TB, b []byte) (ok bool) {
	tb.Helper()
	defer func() { ok = recover() == nil }()
	member.Unpack(string(b), keyOf(tb), nil)
	return true
}

func TestStateCutShortPanics(t *testing.T) {
	t.Parallel()
	s := after(t, answer(fault(2004)))
	s.Snapshot.Missing = []string{}
	b := s.Pack(nil, nil)
	if !readable(t, b) {
		t.Fatal("the whole state is not readable")
	}
	for n := range b {
		if readable(t, b[:n:n]) {
			t.Errorf("%d of %d bytes are readable", n, len(b))
		}
	}
}

func TestUnpackingAnyBytesEnds(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		readable(t, rapid.SliceOfN(rapid.Byte(), 0, 200).Draw(t, "bytes"))
	})
	all := []byte("\xff\xff\xff\xff" + strings.Repeat("\x00", 1+1+2*2+11)) // revision, code, times and texts
	if !readable(t, append(all, 0, 0)) {
		t.Fatal("all fields and two empty lists are not readable")
	}
	all = binary.AppendUvarint(all, 1<<40) // use cases
	if readable(t, all) {
		t.Error("a list of more texts than there are bytes is readable")
	}
}

// remembered are states as a worker has them: real guids, ids and messages have these lengths.
func remembered(tb testing.TB) (nothingSaid, connected, denied, lacking member.State) {
	tb.Helper()
	lifelike := func(r *member.Reading) {
		r.Member.ID, r.Member.UserID = new("partner-member-0000017"), new("partner-user-0000017")
		r.Member.InstitutionGUID = new("INST-68e96dd6-eabd-42d3-9f05-416897f0746c")
	}
	broken := func(r *member.Reading) {
		r.Member.Error = &events.Error{
			Code: new(2005), Type: new("MEMBER"), Locale: new("en-US"),
			Message:     new("The credentials entered do not match your credentials at this institution."),
			UserMessage: new("Please re-enter your credentials to continue importing data."),
		}
	}
	lacking = after(tb, answer(lifelike))
	lacking.Snapshot.Missing = []string{"is_manual", "use_cases"}
	lacking.Snapshot.UseCases = []string{"A_NEW_ONE", "MONEY_MOVEMENT", "PFM"}
	return after(tb, nothing()), after(tb, answer(lifelike)), after(tb, answer(lifelike, status("DENIED"), broken)), lacking
}

func TestPackedStateIsSmall(t *testing.T) {
	t.Parallel()
	nothingSaid, connected, denied, lacking := remembered(t)
	words := member.NewWords()
	for _, c := range []struct {
		name string
		s    member.State
		size int
	}{
		{"never seen", member.State{}, 5},
		{"nothing said", nothingSaid, 5},
		{"connected", connected, 72},
		{"denied, with an error", denied, 78},
		{"lacking two fields, and a third use case", lacking, 76},
	} {
		if got := len(c.s.Pack(nil, words)); got != c.size {
			t.Errorf("%s: %d bytes, want %d", c.name, got, c.size)
		}
	}
}

func TestPackingAllocatesLittle(t *testing.T) { //nolint:paralleltest // what others allocate would be counted
	nothingSaid, connected, denied, lacking := remembered(t)
	k, words := keyOf(t), member.NewWords()
	room := make([]byte, 0, 1024)
	for _, c := range []struct {
		name   string
		s      member.State
		unpack float64
	}{
		{"nothing said", nothingSaid, 1},
		{"connected", connected, 1},
		{"denied, with an error", denied, 1},
		{"lacking two fields, and a third use case", lacking, 3},
	} {
		var b []byte
		if got := testing.AllocsPerRun(100, func() { b = c.s.Pack(room, words) }); got != 0 {
			t.Errorf("%s: packing takes %v allocations, want none", c.name, got)
		}
		var s member.State
		packed := string(b)
		if got := testing.AllocsPerRun(100, func() { s = member.Unpack(packed, k, words) }); got != c.unpack {
			t.Errorf("%s: unpacking takes %v allocations, want %v", c.name, got, c.unpack)
		}
		if s.Revision != c.s.Revision {
			t.Errorf("%s: revision %d, want %d", c.name, s.Revision, c.s.Revision)
		}
	}
}

func BenchmarkPack(b *testing.B) {
	_, connected, denied, _ := remembered(b)
	for _, s := range []member.State{connected, denied} {
		b.Run(string(*s.Snapshot.ConnectionStatus), func(b *testing.B) {
			words, room := member.NewWords(), make([]byte, 0, 1024)
			b.ReportAllocs()
			for b.Loop() {
				s.Pack(room, words)
			}
		})
	}
}

func BenchmarkUnpack(b *testing.B) {
	_, connected, denied, _ := remembered(b)
	k := keyOf(b)
	for _, s := range []member.State{connected, denied} {
		b.Run(string(*s.Snapshot.ConnectionStatus), func(b *testing.B) {
			words := member.NewWords()
			packed := string(s.Pack(nil, words))
			b.ReportAllocs()
			for b.Loop() {
				member.Unpack(packed, k, words)
			}
		})
	}
}
