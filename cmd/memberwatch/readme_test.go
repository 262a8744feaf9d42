package main

import (
	"bytes"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/sethvargo/go-envconfig"
)

func TestReadmeShowsTheSettingsThatTheCatalogPrints(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	var table bytes.Buffer
	if err := run(t.Context(), []string{"catalog", "--config"}, envconfig.MapLookuper(nil), &table, io.Discard); err != nil {
		t.Fatal(err)
	}
	var want strings.Builder
	for row := range strings.Lines(table.String()) {
		if !strings.HasPrefix(row, "| `OTEL_") { // the names and meanings are OpenTelemetry's
			want.WriteString(row)
		}
	}
	if want := strings.TrimSpace(want.String()); !strings.Contains(string(readme), want) {
		t.Errorf("README.md does not show this table; paste it under Settings:\n%s", want)
	}
}
