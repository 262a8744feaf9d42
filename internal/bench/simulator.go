//go:build linux

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

// simulator is the control API of a running mxsim.
type simulator struct {
	url    string
	client *http.Client
}

// ref names a member.
type ref struct {
	User   string `json:"user_guid"`
	Member string `json:"member_guid"`
}

// control calls the control API and decodes its answer, one JSON value after
// another, into take.
func (s *simulator) control(ctx context.Context, method, path string, body any, take func(*json.Decoder) error) error {
	var send io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return fmt.Errorf("encoding control request: %w", err)
		}
		send = bytes.NewReader(text)
	}
	r, err := http.NewRequestWithContext(ctx, method, s.url+"/_sim/"+path, send)
	if err != nil {
		return fmt.Errorf("controlling simulator: %w", err)
	}
	answer, err := s.client.Do(r)
	if err != nil {
		return fmt.Errorf("controlling simulator: %w", err)
	}
	defer answer.Body.Close()
	if answer.StatusCode >= http.StatusMultipleChoices {
		text, _ := io.ReadAll(io.LimitReader(answer.Body, tailBytes))
		return fmt.Errorf("controlling simulator: %s %s: %s: %s", method, path, answer.Status, text)
	}
	if take == nil {
		_, _ = io.Copy(io.Discard, answer.Body)
		return nil
	}
	d := json.NewDecoder(answer.Body)
	for d.More() {
		if err := take(d); err != nil {
			return fmt.Errorf("decoding answer of simulator: %w", err)
		}
	}
	return nil
}

const membersPerUser = 8

// populate adds n members, a multiple of membersPerUser, and returns them in order.
func (s *simulator) populate(ctx context.Context, n int) ([]ref, error) {
	bulk := map[string]any{"users": n / membersPerUser, "members_per_user": membersPerUser}
	if err := s.control(ctx, http.MethodPost, "bulk", bulk, nil); err != nil {
		return nil, err
	}
	refs := make([]ref, 0, n)
	err := s.control(ctx, http.MethodGet, "members", nil, func(d *json.Decoder) error {
		var r ref
		err := d.Decode(&r)
		refs = append(refs, r)
		return err //nolint:wrapcheck // control wraps it.
	})
	if err == nil && len(refs) != n {
		err = fmt.Errorf("simulator has %d members, want %d", len(refs), n)
	}
	return refs, err
}

// flip changes the status of every second member.
func (s *simulator) flip(ctx context.Context) (n int, err error) {
	err = s.control(ctx, http.MethodPost, "flip", map[string]any{}, func(d *json.Decoder) error {
		var answer struct {
			Flipped int `json:"flipped"`
		}
		err := d.Decode(&answer)
		n = answer.Flipped
		return err //nolint:wrapcheck // control wraps it.
	})
	return n, err
}

func (s *simulator) setLatency(ctx context.Context, d time.Duration) error {
	return s.control(ctx, http.MethodPatch, "config", map[string]string{"latency": d.String()}, nil)
}

// set changes a member's status and name.
func (s *simulator) set(ctx context.Context, guid, status, name string) error {
	return s.control(ctx, http.MethodPatch, "members/"+guid, map[string]string{"connection_status": status, "name": name}, nil)
}

// resetReads begins to count reads anew.
func (s *simulator) resetReads(ctx context.Context) error {
	return s.control(ctx, http.MethodPost, "stats/reset", map[string]string{"phase": "bench"}, nil)
}

// reads is the number of members read since resetReads.
func (s *simulator) reads(ctx context.Context) (n int, err error) {
	err = s.control(ctx, http.MethodGet, "stats", nil, func(d *json.Decoder) error {
		var answer struct {
			Phase struct {
				ByEndpoint map[string]map[string]int `json:"by_endpoint"`
			} `json:"phase"`
		}
		err := d.Decode(&answer)
		for _, count := range answer.Phase.ByEndpoint["read"] {
			n += count
		}
		return err //nolint:wrapcheck // control wraps it.
	})
	return n, err
}

// truth is what MX answers now, by member guid.
func (s *simulator) truth(ctx context.Context) (map[string]json.RawMessage, error) {
	all := map[string]json.RawMessage{}
	err := s.control(ctx, http.MethodGet, "truth", nil, func(d *json.Decoder) error {
		var line struct {
			GUID   string          `json:"member_guid"`
			Status int             `json:"status"`
			Member json.RawMessage `json:"member"`
		}
		if err := d.Decode(&line); err != nil {
			return err //nolint:wrapcheck // control wraps it.
		}
		if line.Status != http.StatusOK {
			return errors.New("a member is gone")
		}
		all[line.GUID] = line.Member
		return nil
	})
	return all, err
}
