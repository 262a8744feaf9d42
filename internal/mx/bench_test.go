package mx

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"
	"time"
)

// The ids of the published example.
const (
	exampleUser   = "USR-fa7537f3-48aa-a683-a02a-b18940482f54"
	exampleMember = "MBR-7c6f361b-e582-15b6-60c0-358f12466b4b"
)

// plainMember is what a member would be read into by way of encoding/json.
type plainMember struct {
	Member struct {
		GUID                            string     `json:"guid"`
		UserGUID                        string     `json:"user_guid"`
		ID                              *string    `json:"id"`
		UserID                          *string    `json:"user_id"`
		Name                            *string    `json:"name"`
		InstitutionCode                 *string    `json:"institution_code"`
		InstitutionGUID                 *string    `json:"institution_guid"`
		ConnectionStatus                *string    `json:"connection_status"`
		ConnectionStatusMessage         *string    `json:"connection_status_message"`
		IsOAuth                         *bool      `json:"is_oauth"`
		IsManual                        *bool      `json:"is_manual"`
		IsManagedByUser                 *bool      `json:"is_managed_by_user"`
		IsBeingAggregated               *bool      `json:"is_being_aggregated"`
		BackgroundAggregationIsDisabled *bool      `json:"background_aggregation_is_disabled"`
		NeedsUpdatedCredentials         *bool      `json:"needs_updated_credentials"`
		AggregatedAt                    *time.Time `json:"aggregated_at"`
		SuccessfullyAggregatedAt        *time.Time `json:"successfully_aggregated_at"`
		UseCases                        []string   `json:"use_cases"`
		Error                           *struct {
			Code *int    `json:"error_code"`
			Type *string `json:"error_type"`
		} `json:"error"`
		OAuthWindowURI string `json:"oauth_window_uri"`
	} `json:"member"`
}

func example(b *testing.B) []byte {
	b.Helper()
	body, err := os.ReadFile("testdata/read_member.json")
	if err != nil {
		b.Fatal(err)
	}
	return body
}

// BenchmarkDecodeMember compares the scanner with encoding/json on the published example.
func BenchmarkDecodeMember(b *testing.B) {
	body := example(b)
	b.Run("scanner", func(b *testing.B) {
		b.SetBytes(int64(len(body)))
		b.ReportAllocs()
		var s scanner
		for b.Loop() {
			s.reset(body)
			if _, err := decodeMember(&s, anyRequest); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("encoding-json", func(b *testing.B) {
		b.SetBytes(int64(len(body)))
		b.ReportAllocs()
		for b.Loop() {
			var m plainMember
			if err := json.Unmarshal(body, &m); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkReadMember compares the client with http.Client and encoding/json: against a server in the same process, and,
// to see the client alone, against a transport that answers from memory.
func BenchmarkReadMember(b *testing.B) {
	body := example(b)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write(body)
	}))
	b.Cleanup(server.Close)
	for _, t := range []struct {
		name string
		wrap func(http.RoundTripper) http.RoundTripper
	}{
		{"loopback", func(next http.RoundTripper) http.RoundTripper { return next }},
		{"memory", func(http.RoundTripper) http.RoundTripper { return memory(body) }},
	} {
		b.Run(t.name+"/mx", func(b *testing.B) {
			b.ReportAllocs()
			c, err := New(Config{
				BaseURL: server.URL, ClientID: "id", APIKey: "key", AcceptVersion: "v20250224", Timeout: time.Minute, MaxInFlight: 64,
			}, WithTransport(t.wrap))
			if err != nil {
				b.Fatal(err)
			}
			b.Cleanup(c.Close)
			for b.Loop() {
				if _, err := c.ReadMember(b.Context(), exampleUser, exampleMember); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(t.name+"/plain", func(b *testing.B) {
			b.ReportAllocs()
			transport := &http.Transport{MaxIdleConnsPerHost: 64}
			b.Cleanup(transport.CloseIdleConnections)
			c := &http.Client{Transport: t.wrap(transport), Timeout: time.Minute}
			for b.Loop() {
				if err := plainRead(b.Context(), c, server.URL, exampleUser, exampleMember); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// plainRead reads a member as one does.
func plainRead(ctx context.Context, c *http.Client, base, user, member string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, base+"/users/"+user+"/members/"+member, http.NoBody)
	if err != nil {
		return err
	}
	req.SetBasicAuth("id", "key")
	req.Header.Set("Accept", "application/json")
	req.Header.Set("Accept-Version", "v20250224")
	resp, err := c.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("status %d", resp.StatusCode)
	}
	var m plainMember
	if err := json.NewDecoder(resp.Body).Decode(&m); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, resp.Body)
	return err
}

// memory is a transport that answers every request with the same body.
type memory []byte

func (m memory) RoundTrip(*http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: http.StatusOK, ContentLength: int64(len(m)), Body: &memoryBody{rest: m}}, nil
}

type memoryBody struct{ rest []byte }

func (b *memoryBody) Read(p []byte) (int, error) {
	n := copy(p, b.rest)
	b.rest = b.rest[n:]
	if len(b.rest) == 0 {
		return n, io.EOF
	}
	return n, nil
}

func (*memoryBody) Close() error { return nil }
