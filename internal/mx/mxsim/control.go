package mxsim

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
)

// controlPrefix is where the control API lives, on the listener of the MX API
// and without authentication.
const controlPrefix = "/_sim/"

// maxControlBody bounds a control request; the largest are scripts.
const maxControlBody = 16 << 20

// controlRoutes mirrors the methods of Server:
//
//	POST   /_sim/users                          User                        201 User
//	PUT    /_sim/users/{guid}                   User                        204
//	DELETE /_sim/users/{guid}                                               204
//	POST   /_sim/users/{guid}/members           Patch                       201 Truth
//	GET    /_sim/members                                                    200 Ref per line
//	GET    /_sim/members/{guid}                                             200 Truth
//	PATCH  /_sim/members/{guid}                 Patch                       200 Truth
//	DELETE /_sim/members/{guid}                                             204
//	POST   /_sim/members/{guid}/script          [Patch, "STATUS", null, …]  200 Truth
//	POST   /_sim/members/{guid}/authorize       {"outcome":"CONNECTED"}     200 Truth
//	POST   /_sim/members/{guid}/answer          {"outcome":"REJECTED"}      200 Truth
//	POST   /_sim/members/{guid}/expire | settle | restore                   200 Truth
//	POST   /_sim/bulk                           Bulk                        201 {"users":n,"members":n}
//	POST   /_sim/flip                           Flip                        200 {"flipped":n}
//	GET    /_sim/truth                                                      200 a line per member
//	POST   /_sim/faults                         Fault                       201 {"id":"fault-1"}
//	GET    /_sim/faults                                                     200 {"faults":[Fault]}
//	DELETE /_sim/faults, /_sim/faults/{id}                                  200 {"cleared":n}
//	GET    /_sim/stats                                                      200 Stats
//	POST   /_sim/stats/reset                    {"phase":"name"}            200 Stats
//	GET    /_sim/log?member=&after=                                         200 {"dropped":n,"entries":[Entry]}
//	PUT    /_sim/log                            {"mode":"off|last|all"}     204
//	GET    /_sim/config                                                     200 settings
//	PATCH  /_sim/config                         settings                    200 settings
//
// Errors are {"error":"why"} with 400, 404 or 409. Durations are text: "1.5s".
func (s *Server) controlRoutes() http.Handler {
	mux := http.NewServeMux()
	route := func(pattern string, serve func(r *http.Request) (int, any, error)) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			r.Body = http.MaxBytesReader(w, r.Body, maxControlBody)
			reply(w, r, serve)
		})
	}
	route("POST /_sim/users", func(r *http.Request) (int, any, error) {
		u, err := decode[User](r)
		if err != nil {
			return 0, nil, err
		}
		u, err = s.AddUser(u)
		return http.StatusCreated, u, err
	})
	route("PUT /_sim/users/{guid}", func(r *http.Request) (int, any, error) {
		u, err := decode[User](r)
		if err != nil {
			return 0, nil, err
		}
		u.GUID = r.PathValue("guid")
		return http.StatusNoContent, nil, s.SetUser(u)
	})
	route("DELETE /_sim/users/{guid}", func(r *http.Request) (int, any, error) {
		return http.StatusNoContent, nil, s.DeleteUser(r.PathValue("guid"))
	})
	route("POST /_sim/bulk", func(r *http.Request) (int, any, error) {
		b, err := decode[Bulk](r)
		if err != nil {
			return 0, nil, err
		}
		refs, err := s.AddBulk(b)
		return http.StatusCreated, map[string]int{"users": b.Users, "members": len(refs)}, err
	})
	route("POST /_sim/flip", func(r *http.Request) (int, any, error) {
		f, err := decode[Flip](r)
		if err != nil {
			return 0, nil, err
		}
		return http.StatusOK, map[string]int{"flipped": s.Flip(f)}, nil
	})
	s.memberRoutes(route)
	s.faultRoutes(route)
	s.journalRoutes(route)
	mux.HandleFunc("GET /_sim/members", s.streamRefs)
	mux.HandleFunc("GET /_sim/truth", s.streamTruth)
	mux.HandleFunc("GET /_sim/log", s.streamLog)
	return mux
}

type router func(pattern string, serve func(r *http.Request) (int, any, error))

func (s *Server) memberRoutes(route router) {
	route("POST /_sim/users/{guid}/members", func(r *http.Request) (int, any, error) {
		p, err := decode[Patch](r)
		if err != nil {
			return 0, nil, err
		}
		m, err := s.AddMember(r.PathValue("guid"), p)
		if err != nil {
			return 0, nil, err
		}
		t, err := s.Truth(m.GUID)
		return http.StatusCreated, t, err
	})
	// change answers with the truth after what a route did to its member.
	change := func(pattern string, do func(guid string, r *http.Request) error) {
		route(pattern, func(r *http.Request) (int, any, error) {
			guid := r.PathValue("guid")
			if err := do(guid, r); err != nil {
				return 0, nil, err
			}
			t, err := s.Truth(guid)
			return http.StatusOK, t, err
		})
	}
	change("GET /_sim/members/{guid}", func(string, *http.Request) error { return nil })
	change("PATCH /_sim/members/{guid}", func(guid string, r *http.Request) error {
		p, err := decode[Patch](r)
		if err != nil {
			return err
		}
		return s.Set(guid, p)
	})
	route("DELETE /_sim/members/{guid}", func(r *http.Request) (int, any, error) {
		return http.StatusNoContent, nil, s.Delete(r.PathValue("guid"))
	})
	change("POST /_sim/members/{guid}/script", func(guid string, r *http.Request) error {
		steps, err := decode[[]step](r)
		if err != nil {
			return err
		}
		patches := make([]Patch, len(steps))
		for i, st := range steps {
			patches[i] = Patch(st)
		}
		return s.Script(guid, patches...)
	})
	type end struct {
		Outcome string `json:"outcome"`
	}
	change("POST /_sim/members/{guid}/authorize", func(guid string, r *http.Request) error {
		to, err := decode[end](r)
		if err != nil {
			return err
		}
		return s.Authorize(guid, to.Outcome)
	})
	change("POST /_sim/members/{guid}/answer", func(guid string, r *http.Request) error {
		to, err := decode[end](r)
		if err != nil {
			return err
		}
		return s.AnswerChallenge(guid, to.Outcome)
	})
	change("POST /_sim/members/{guid}/expire", func(guid string, _ *http.Request) error { return s.Expire(guid) })
	change("POST /_sim/members/{guid}/settle", func(guid string, _ *http.Request) error { return s.Settle(guid) })
	change("POST /_sim/members/{guid}/restore", func(guid string, _ *http.Request) error { return s.Restore(guid) })
}

// step is one step of a script: a patch, or a status alone.
type step Patch

// UnmarshalJSON takes an object, a string or null.
func (st *step) UnmarshalJSON(text []byte) error {
	if text[0] == '{' {
		return json.Unmarshal(text, (*map[string]any)(st))
	}
	var status *string
	if err := json.Unmarshal(text, &status); err != nil {
		return err
	}
	*st = step{"connection_status": status}
	return nil
}

func (s *Server) faultRoutes(route router) {
	route("POST /_sim/faults", func(r *http.Request) (int, any, error) {
		w, err := decode[faultWire](r)
		if err != nil {
			return 0, nil, err
		}
		id, err := s.Inject(w.fault())
		return http.StatusCreated, map[string]string{"id": id}, err
	})
	route("GET /_sim/faults", func(*http.Request) (int, any, error) {
		return http.StatusOK, map[string][]Fault{"faults": s.Faults()}, nil
	})
	route("DELETE /_sim/faults", func(*http.Request) (int, any, error) {
		return http.StatusOK, map[string]int{"cleared": s.ClearFaults()}, nil
	})
	route("DELETE /_sim/faults/{id}", func(r *http.Request) (int, any, error) {
		return http.StatusOK, map[string]int{"cleared": s.ClearFaults(r.PathValue("id"))}, nil
	})
}

func (s *Server) journalRoutes(route router) {
	route("GET /_sim/stats", func(*http.Request) (int, any, error) {
		return http.StatusOK, s.Stats(), nil
	})
	route("POST /_sim/stats/reset", func(r *http.Request) (int, any, error) {
		next, err := decode[struct {
			Phase string `json:"phase"`
		}](r)
		if err != nil {
			return 0, nil, err
		}
		s.ResetStats(next.Phase)
		return http.StatusOK, s.Stats(), nil
	})
	route("PUT /_sim/log", func(r *http.Request) (int, any, error) {
		next, err := decode[struct {
			Mode LogMode `json:"mode"`
		}](r)
		if err != nil {
			return 0, nil, err
		}
		return http.StatusNoContent, nil, s.SetLog(next.Mode)
	})
	route("GET /_sim/config", func(*http.Request) (int, any, error) {
		return http.StatusOK, s.settings(), nil
	})
	route("PATCH /_sim/config", func(r *http.Request) (int, any, error) {
		next, err := decode[settings](r)
		if err != nil {
			return 0, nil, err
		}
		s.Configure(next.apply)
		return http.StatusOK, s.settings(), nil
	})
}

// settings are the part of Config that the control API shows and changes. What
// a request leaves out stays. The key can be changed and is never shown.
type settings struct {
	APIKey            *string   `json:"api_key,omitempty"`
	AcceptVersions    []string  `json:"accept_versions,omitempty"`
	Nasty             *bool     `json:"nasty,omitempty"`
	Latency           *duration `json:"latency,omitempty"`
	SettleReads       *int      `json:"settle_reads,omitempty"`
	SettleAfter       *duration `json:"settle_after,omitempty"`
	AggregateInterval *duration `json:"aggregate_interval,omitempty"`
}

func (s *Server) settings() settings {
	cfg := s.live.Load().Config
	return settings{
		AcceptVersions:    cfg.AcceptVersions,
		Nasty:             &cfg.Nasty,
		Latency:           new(duration(cfg.Latency)),
		SettleReads:       &cfg.SettleReads,
		SettleAfter:       new(duration(cfg.SettleAfter)),
		AggregateInterval: new(duration(cfg.AggregateInterval)),
	}
}

func (s settings) apply(cfg *Config) {
	set(&cfg.APIKey, s.APIKey)
	set(&cfg.Nasty, s.Nasty)
	set(&cfg.SettleReads, s.SettleReads)
	set((*duration)(&cfg.Latency), s.Latency)
	set((*duration)(&cfg.SettleAfter), s.SettleAfter)
	set((*duration)(&cfg.AggregateInterval), s.AggregateInterval)
	if len(s.AcceptVersions) > 0 {
		cfg.AcceptVersions = s.AcceptVersions
	}
}

func set[T any](to, from *T) {
	if from != nil {
		*to = *from
	}
}

// decode reads the body of a control request; none is as good as {}.
func decode[T any](r *http.Request) (T, error) {
	var v T
	dec := json.NewDecoder(r.Body)
	dec.DisallowUnknownFields()
	if err := dec.Decode(&v); err != nil && !errors.Is(err, io.EOF) {
		return v, fmt.Errorf("%w: decoding request: %w", ErrInvalid, err)
	}
	return v, nil
}

func reply(w http.ResponseWriter, r *http.Request, serve func(r *http.Request) (int, any, error)) {
	status, body, err := serve(r)
	if err != nil {
		status, body = http.StatusInternalServerError, map[string]string{"error": err.Error()}
		switch {
		case errors.Is(err, ErrNotFound):
			status = http.StatusNotFound
		case errors.Is(err, ErrExists):
			status = http.StatusConflict
		case errors.Is(err, ErrInvalid):
			status = http.StatusBadRequest
		}
	}
	w.Header()["Content-Type"] = jsonType
	w.WriteHeader(status)
	if body != nil {
		_ = json.NewEncoder(w).Encode(body) // the client may have gone
	}
}

func (s *Server) streamRefs(w http.ResponseWriter, _ *http.Request) {
	w.Header()["Content-Type"] = []string{"application/jsonl"}
	out := bufio.NewWriter(w)
	enc := json.NewEncoder(out)
	for ref := range s.Refs() {
		if enc.Encode(ref) != nil {
			return
		}
	}
	_ = out.Flush()
}

// streamTruth shows members in the plain form of an answer, with
// oauth_window_uri_blank in place of the URI: what an oracle compares.
func (s *Server) streamTruth(w http.ResponseWriter, _ *http.Request) {
	w.Header()["Content-Type"] = []string{"application/jsonl"}
	out := bufio.NewWriter(w)
	var b []byte
	for t := range s.Truths() {
		b = append(b[:0], `{"user_guid":`...)
		b = appendString(b, t.Member.UserGUID)
		b = append(b, `,"member_guid":`...)
		b = appendString(b, t.Member.GUID)
		b = append(b, `,"status":`...)
		b = strconv.AppendInt(b, int64(t.Status), 10)
		b = append(b, `,"version":`...)
		b = strconv.AppendUint(b, t.Version, 10)
		b = append(b, `,"member":`...)
		if t.Status == http.StatusOK {
			b = appendMember(b, &t.Member, viewFull, form{journal: true})
		} else {
			b = append(b, "null"...)
		}
		if _, err := out.Write(append(b, '}', '\n')); err != nil {
			return
		}
	}
	_ = out.Flush()
}

func (s *Server) streamLog(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	after, err := strconv.ParseUint(query.Get("after"), 10, 64)
	if err != nil && query.Get("after") != "" {
		reply(w, r, func(*http.Request) (int, any, error) {
			return 0, nil, fmt.Errorf("%w: after is not a number", ErrInvalid)
		})
		return
	}
	entries := s.LogAll(after)
	if member := query.Get("member"); member != "" {
		found := s.Log(member, after)
		entries = func(yield func(Entry) bool) {
			for _, e := range found {
				if !yield(e) {
					return
				}
			}
		}
	}
	w.Header()["Content-Type"] = jsonType
	out := bufio.NewWriter(w)
	fmt.Fprintf(out, `{"dropped":%d,"entries":[`, s.Dropped())
	comma := ""
	for e := range entries {
		text, err := json.Marshal(e)
		if err != nil { // a raw field that is no JSON
			text = []byte(`{"n":` + strconv.FormatUint(e.N, 10) + `}`)
		}
		if _, err := fmt.Fprintf(out, "%s\n%s", comma, text); err != nil {
			return
		}
		comma = ","
	}
	_, _ = out.WriteString("\n]}\n")
	_ = out.Flush()
}
