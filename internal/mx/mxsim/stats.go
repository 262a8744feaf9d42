package mxsim

import (
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// endpoint is one of the calls that MX answers.
type endpoint uint8

const (
	endpointUnknown endpoint = iota
	endpointRead
	endpointStatus
	endpointOAuth
	endpointAggregate
	endpointMembers
	endpointUsers
	endpointCount
)

func (e endpoint) String() string {
	switch e {
	case endpointRead:
		return "read"
	case endpointStatus:
		return "status"
	case endpointOAuth:
		return "oauth_window_uri"
	case endpointAggregate:
		return "aggregate"
	case endpointMembers:
		return "members"
	case endpointUsers:
		return "users"
	case endpointUnknown, endpointCount:
	}
	return "unknown"
}

func endpointNamed(name string) (endpoint, bool) {
	for e := endpointRead; e < endpointCount; e++ {
		if e.String() == name {
			return e, true
		}
	}
	return endpointUnknown, false
}

// Stats are the requests to the MX API. The control API is not counted.
type Stats struct {
	InFlight    int64  `json:"in_flight"`     // now
	MaxInFlight int64  `json:"max_in_flight"` // in this phase
	Total       Counts `json:"total"`
	Phase       Counts `json:"phase"` // since ResetStats
}

// Counts are answered requests. Endpoints are named as in the scope of a
// fault; the status is that of the answer, 0 when the client got none.
type Counts struct {
	Name       string                       `json:"name,omitempty"` // of the phase
	Since      time.Time                    `json:"since"`
	Requests   uint64                       `json:"requests"`
	ByEndpoint map[string]map[string]uint64 `json:"by_endpoint"`
}

// counters hold one count for each endpoint and status below 600.
type counters [endpointCount][600]uint64

type stats struct {
	counts   [endpointCount][600]atomic.Uint64
	inFlight atomic.Int64
	most     atomic.Int64

	mu    sync.Mutex // guards what follows
	base  counters   // at the start of the phase
	begun time.Time
	since time.Time
	name  string
}

func (st *stats) enter() {
	now := st.inFlight.Add(1)
	for {
		most := st.most.Load()
		if now <= most || st.most.CompareAndSwap(most, now) {
			return
		}
	}
}

// leave counts a request before it is no longer in flight.
func (st *stats) leave(e endpoint, status int) {
	st.counts[e][status].Add(1)
	st.inFlight.Add(-1)
}

// Stats are the counts so far.
func (s *Server) Stats() Stats {
	st := &s.stats
	st.mu.Lock()
	defer st.mu.Unlock()
	now := st.load()
	return Stats{
		InFlight:    st.inFlight.Load(),
		MaxInFlight: st.most.Load(),
		Total:       now.since(&counters{}, "", st.begun),
		Phase:       now.since(&st.base, st.name, st.since),
	}
}

// ResetStats begins a phase, whose counts start from zero.
func (s *Server) ResetStats(phase string) {
	st := &s.stats
	st.mu.Lock()
	defer st.mu.Unlock()
	st.base = *st.load()
	st.name, st.since = phase, s.now()
	st.most.Store(st.inFlight.Load())
}

func (st *stats) load() *counters {
	out := new(counters)
	for e := range st.counts {
		for status := range st.counts[e] {
			out[e][status] = st.counts[e][status].Load()
		}
	}
	return out
}

func (c *counters) since(base *counters, name string, since time.Time) Counts {
	out := Counts{Name: name, Since: since, ByEndpoint: make(map[string]map[string]uint64)}
	for e := range c {
		for status, n := range c[e] {
			n -= base[e][status]
			if n == 0 {
				continue
			}
			label := endpoint(e).String()
			if out.ByEndpoint[label] == nil {
				out.ByEndpoint[label] = make(map[string]uint64)
			}
			out.ByEndpoint[label][strconv.Itoa(status)] = n
			out.Requests += n
		}
	}
	return out
}
