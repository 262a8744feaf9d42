package refresh_test

import (
	"context"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/memberwatch/memberwatch/events"
	"github.com/memberwatch/memberwatch/internal/mx"
	"github.com/memberwatch/memberwatch/internal/mx/mxsim"
	"github.com/memberwatch/memberwatch/internal/refresh"
	"github.com/memberwatch/memberwatch/internal/refresh/refreshtest"
)

// crowd is a rig whose jobs can be made to wait for one read.
type crowd struct {
	*refreshtest.Rig
	t       *testing.T
	holding chan struct{} // holds one while the next read is to be held
	held    chan struct{}
	release chan struct{}
}

// newCrowd starts a rig by start, which is refreshtest.New or does more.
func newCrowd(t *testing.T, wrap func(int, *refresh.Deps), start func(refreshtest.Options) *refreshtest.Rig) *crowd {
	t.Helper()
	c := &crowd{t: t, holding: make(chan struct{}, 1), held: make(chan struct{}), release: make(chan struct{})}
	c.Rig = start(refreshtest.Options{
		Refresh: func(c *refresh.Config) { c.FollowUpAfter = time.Second },
		Wrap: func(n int, d *refresh.Deps) {
			sound := d.MX
			d.MX = &readers{sound, func(ctx context.Context, user, member string) (mx.Member, error) {
				m, err := sound.ReadMember(ctx, user, member)
				select {
				case <-c.holding: // It has its answer already: who comes now waits for the next read.
					c.held <- struct{}{}
					<-c.release
				default:
				}
				return m, err
			}}
			if wrap != nil {
				wrap(n, d)
			}
		},
	})
	return c
}

// plain starts a rig that is not traced.
func plain(t *testing.T) func(refreshtest.Options) *refreshtest.Rig {
	t.Helper()
	return func(o refreshtest.Options) *refreshtest.Rig { return refreshtest.New(t, o) }
}

// together has jobs served by one read, which shows the member as patched, and
// returns their results.
func (c *crowd) together(k events.Key, patch mxsim.Patch, jobs ...refresh.Job) []events.Result {
	c.t.Helper()
	want := 1
	for _, j := range jobs {
		if j.Command.Aggregate {
			want = 2 // one more for whom MX has aggregated first
		}
	}
	service, verdicts := c.Workers[0].Service, make([]chan refresh.Verdict, len(jobs)+1)
	jobs = append([]refresh.Job{{Source: refresh.SourceSweep}}, jobs...)
	for n := range jobs {
		j := &jobs[n]
		verdict := make(chan refresh.Verdict, 1)
		verdicts[n] = verdict
		j.Ref, j.Key, j.Settle = decimal(n), k, func(v refresh.Verdict) { verdict <- v }
		j.Command.User, j.Command.Member = k.User(), k.Member()
		j.Deliveries = max(j.Deliveries, 1)
		if n == 0 {
			c.holding <- struct{}{}
		}
		service.Submit(j)
		if n == 0 {
			<-c.held
		}
	}
	c.Set(k, patch)
	reads := c.Reads(k)
	c.release <- struct{}{}
	var results []events.Result
	for _, verdict := range verdicts {
		select {
		case v := <-verdict:
			results = append(results, v.Result)
		case <-time.After(20 * time.Second):
			c.t.Fatal("a job is not settled")
		}
	}
	if got := c.Reads(k) - reads; got != want {
		c.t.Fatalf("%d reads for jobs that waited for one, want %d", got, want)
	}
	return results[1:]
}

const (
	traceOne = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	traceTwo = "00-1af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
)

// asked is a command with all that an event can carry on of it.
func asked(s refresh.Source, id string) refresh.Job {
	return refresh.Job{
		Source: s, Lane: refresh.Interactive, ID: id, Command: events.Command{Reason: "why " + id}, At: time.Now().Add(-time.Second),
		Traceparent: traceOne, Tracestate: "of=" + id,
	}
}

// causeOf is what an event carries on of a job.
func causeOf(j *refresh.Job) refresh.Cause {
	return refresh.Cause{ID: j.ID, Reason: j.Command.Reason, Traceparent: j.Traceparent, Tracestate: j.Tracestate}
}

// byItself is a job of the service's own.
func byItself(s refresh.Source, id string) refresh.Job {
	j := refresh.Job{Source: s, Lane: refresh.Background, ID: id, Traceparent: traceTwo}
	if id != "" {
		j.Command.Reason, j.Tracestate = "why "+id, "of="+id
	}
	if s == refresh.SourceDeletion {
		j.Confirms = &refresh.Confirmation{}
	}
	if s == refresh.SourceFollowing {
		j.Following = &refresh.Following{Tries: 3, Since: time.Now()}
	}
	return j
}

// begin has the command "first" make the member's first event.
func (c *crowd) begin(k events.Key) refresh.Job {
	c.t.Helper()
	first := asked(refresh.SourceCommand, "first")
	first.Key = k
	submit(c.t, c.Rig, first)
	return first
}

// wanted is the cause of the job with an id.
func wanted(id string, first refresh.Job, jobs []refresh.Job) refresh.Cause {
	for _, j := range jobs {
		if j.ID == id {
			return causeOf(&j)
		}
	}
	return causeOf(&first)
}

func TestAnEventCarriesOnTheFirstCommandThatSharedItsRead(t *testing.T) {
	t.Parallel()
	followUp := byItself(refresh.SourceFollowUp, "")
	followUp.FollowUpOf = 1
	wish := asked(refresh.SourceCommand, "wish")
	wish.Command.Aggregate = true
	for name, tc := range map[string]struct {
		jobs []refresh.Job
		want string // its id
	}{
		"a periodic read, two commands":       {[]refresh.Job{byItself(refresh.SourcePeriodic, "walk"), asked(refresh.SourceCommand, "one"), asked(refresh.SourceCommand, "two")}, "one"},
		"a follow-up, a webhook":              {[]refresh.Job{followUp, asked(refresh.SourceWebhook, "hook")}, "hook"},
		"a confirmation, a request":           {[]refresh.Job{byItself(refresh.SourceDeletion, "doubt"), asked(refresh.SourceRequest, "req")}, "req"},
		"a command that wishes to aggregate":  {[]refresh.Job{byItself(refresh.SourceFollowing, "signup"), wish}, "wish"},
		"a walk without a name, another read": {[]refresh.Job{byItself(refresh.SourceSweep, ""), byItself(refresh.SourceFollowing, "signup")}, "signup"},
		"a follow-up, a periodic read":        {[]refresh.Job{followUp, byItself(refresh.SourcePeriodic, "walk")}, "first"},
		"a scheduled read, a follow-up":       {[]refresh.Job{byItself(refresh.SourceFollowing, "signup"), followUp}, "signup"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newCrowd(t, nil, plain(t))
			k := c.AddMember(settled())
			first := c.begin(k)
			results := c.together(k, status("DEGRADED"), tc.jobs...)
			e := c.Events(k)[1]
			got := refresh.Cause{ID: e.CorrelationID, Reason: e.Reason, Traceparent: e.Traceparent, Tracestate: e.Tracestate}
			if diff := cmp.Diff(wanted(tc.want, first, tc.jobs), got); diff != "" {
				t.Errorf("cause (-want +got):\n%s", diff)
			}
			for n, j := range tc.jobs {
				if results[n].EventID != e.ID {
					t.Errorf("%s is told of event %q", j.Source, results[n].EventID)
				}
				if j.Source != refresh.SourceCommand || j.ID != tc.want {
					continue
				}
				j.Key, j.Deliveries = k, 2
				if v := submit(t, c.Rig, j); v.Result.Outcome != events.OutcomeChanged || v.Result.EventID != e.ID {
					t.Errorf("delivered again it is told %s, event %q", v.Result.Outcome, v.Result.EventID)
				}
			}
		})
	}
}

func TestAFollowingCarriesOnTheFirstCommandThatSharedItsRead(t *testing.T) {
	t.Parallel()
	followUp := byItself(refresh.SourceFollowUp, "")
	followUp.FollowUpOf = 1
	settle, command := byItself(refresh.SourceFollowing, "signup"), asked(refresh.SourceCommand, "one")
	for name, tc := range map[string]struct {
		jobs  []refresh.Job
		want  string
		tries uint64
		anew  bool
	}{
		"a scheduled read, a command":        {[]refresh.Job{settle, command}, "one", 4, false},
		"a follow-up, a command":             {[]refresh.Job{followUp, command}, "one", 1, true},
		"a periodic read, a command":         {[]refresh.Job{byItself(refresh.SourcePeriodic, "walk"), command}, "one", 1, false},
		"a scheduled read, a periodic read":  {[]refresh.Job{byItself(refresh.SourcePeriodic, "walk"), settle}, "signup", 4, false},
		"a scheduled read, and one followed": {[]refresh.Job{settle, followUp}, "first", 1, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var got []refresh.Following // by one cycle at a time: there is one member
			var begun []bool
			c := newCrowd(t, func(_ int, d *refresh.Deps) {
				d.Followings = &followings{schedule: func(_ context.Context, _ events.Key, f refresh.Following, _ time.Duration, anew bool) error {
					got, begun = append(got, f), append(begun, anew)
					return nil
				}}
			}, plain(t))
			k := c.AddMember(status("CREATED"))
			first := c.begin(k)
			c.together(k, status("CREATED"), tc.jobs...)
			if len(got) != 2 {
				t.Fatalf("%d reads scheduled, want those of two reads", len(got))
			}
			f := got[1]
			if diff := cmp.Diff(wanted(tc.want, first, tc.jobs), f.Cause); diff != "" || f.Tries != tc.tries || begun[1] != tc.anew {
				t.Errorf("tries %d, anew %t; want %d, %t; cause (-want +got):\n%s", f.Tries, begun[1], tc.tries, tc.anew, diff)
			}
		})
	}
}
