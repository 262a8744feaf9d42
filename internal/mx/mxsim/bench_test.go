package mxsim_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/memberwatch/memberwatch/internal/mx/mxsim"
)

// discard is a ResponseWriter that costs nothing.
type discard struct{ header http.Header }

func (d discard) Header() http.Header         { return d.header }
func (d discard) Write(b []byte) (int, error) { return len(b), nil }
func (d discard) WriteHeader(int)             {}

func BenchmarkReadHandler(b *testing.B) {
	for _, mode := range []mxsim.LogMode{mxsim.LogOff, mxsim.LogLast, mxsim.LogAll} {
		b.Run(string(mode), func(b *testing.B) {
			s := mxsim.New(mxsim.Config{Now: time.Now, Log: mode})
			refs, err := s.AddBulk(mxsim.Bulk{Users: 1000, MembersPerUser: 10})
			must(b, err)
			requests := make([]*http.Request, len(refs))
			for i, ref := range refs {
				requests[i] = httptest.NewRequestWithContext(b.Context(), http.MethodGet, "/users/"+ref.UserGUID+"/members/"+ref.GUID, nil)
				requests[i].SetBasicAuth(mxsim.DefaultClientID, mxsim.DefaultAPIKey)
				requests[i].Header.Set("Accept-Version", "v20250224")
			}
			w := discard{http.Header{}}
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				s.ServeHTTP(w, requests[i%len(requests)])
			}
		})
	}
}

func BenchmarkReadOverTCP(b *testing.B) {
	s := start(b, mxsim.Config{Now: time.Now})
	refs, err := s.AddBulk(mxsim.Bulk{Users: 100, MembersPerUser: 10})
	must(b, err)
	b.RunParallel(func(pb *testing.PB) {
		for i := 0; pb.Next(); i++ {
			ref := refs[i%len(refs)]
			req, err := http.NewRequestWithContext(b.Context(), http.MethodGet, s.URL+"/users/"+ref.UserGUID+"/members/"+ref.GUID, nil)
			if err != nil {
				b.Error(err)
				return
			}
			req.SetBasicAuth(mxsim.DefaultClientID, mxsim.DefaultAPIKey)
			req.Header.Set("Accept-Version", "v20250224")
			resp, err := s.client.Do(req)
			if err != nil {
				b.Error(err)
				return
			}
			_, _ = io.Copy(io.Discard, resp.Body)
			_ = resp.Body.Close()
		}
	})
}

func BenchmarkBulk100000(b *testing.B) {
	for b.Loop() {
		s := mxsim.New(mxsim.Config{Now: time.Now})
		if _, err := s.AddBulk(mxsim.Bulk{Users: 10_000, MembersPerUser: 10}); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
}
