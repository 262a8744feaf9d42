package main

import (
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/sethvargo/go-envconfig"

	"github.com/memberwatch/memberwatch/internal/bus"
	"github.com/memberwatch/memberwatch/internal/bus/embedded/embeddedtest"
	"github.com/memberwatch/memberwatch/internal/mx/mxsim"
	"github.com/memberwatch/memberwatch/internal/observe"
)

// idleMX is a simulator that nobody asks anything.
func idleMX(t *testing.T) *mxsim.Server {
	t.Helper()
	sim, err := mxsim.Start(t.Context(), "", mxsim.Config{Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = sim.Close() })
	return sim
}

func TestAWorkerWatchesOverItsTopology(t *testing.T) {
	t.Parallel()
	sim := idleMX(t)
	nats := envconfig.MapLookuper(map[string]string{"NATS_URL": embeddedtest.Start(t).URL()})
	c, err := loadConfig(t.Context(), overlay{of(sim), nats})
	if err != nil {
		t.Fatal(err)
	}
	w, err := newWorker(t.Context(), c, observe.NewHealth(), prometheus.NewRegistry(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.close)
	if !slices.ContainsFunc(w.doors, func(d door) bool { _, is := d.(*bus.Watch); return is }) {
		t.Error("nobody looks at the topology while the worker runs")
	}
}
