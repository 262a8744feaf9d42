// Command sbom writes a software bill of materials, CycloneDX 1.6 in JSON, of Go
// programs: what each says that it was built from.
//
//	go run ./deploy/sbom [-version VERSION] PROGRAM... >sbom.cdx.json
//
// The same programs give the same bytes: there is no time in it, and its serial
// number is made from the programs' content.
package main

import (
	"cmp"
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
)

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "sbom:", err)
		os.Exit(1) //nolint:forbidigo // This is main.
	}
}

// bom is the part of CycloneDX 1.6 that is needed here
// (https://cyclonedx.org/docs/1.6/json/).
type bom struct {
	Format       string       `json:"bomFormat"`
	Spec         string       `json:"specVersion"`
	Serial       string       `json:"serialNumber"`
	Version      int          `json:"version"`
	Metadata     metadata     `json:"metadata"`
	Components   []component  `json:"components"`
	Dependencies []dependency `json:"dependencies"`
}

type metadata struct {
	Component component `json:"component"`
}

type component struct {
	Type    string `json:"type"`
	Ref     string `json:"bom-ref"`
	Name    string `json:"name"`
	Version string `json:"version,omitempty"`
	PURL    string `json:"purl,omitempty"`
	Hashes  []hash `json:"hashes,omitempty"`
}

type hash struct {
	Algorithm string `json:"alg"`
	Content   string `json:"content"`
}

type dependency struct {
	Ref string   `json:"ref"`
	On  []string `json:"dependsOn"`
}

func run(args []string, out io.Writer) error {
	flags := flag.NewFlagSet("sbom", flag.ContinueOnError)
	version := flags.String("version", "dev", "version of the programs")
	if err := flags.Parse(args); err != nil {
		return err //nolint:wrapcheck // flag has said it.
	}
	if flags.NArg() == 0 {
		return errors.New("name a program that Go built")
	}
	b, err := describe(*version, flags.Args())
	if err != nil {
		return err
	}
	text, err := json.MarshalIndent(b, "", "  ")
	if err != nil {
		return fmt.Errorf("encoding: %w", err)
	}
	if _, err := out.Write(append(text, '\n')); err != nil {
		return fmt.Errorf("writing: %w", err)
	}
	return nil
}

func describe(version string, files []string) (*bom, error) {
	all := sha256.New()
	modules := map[string]component{}
	var programs []component
	var dependencies []dependency
	var module string
	for _, file := range files {
		info, err := buildinfo.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("reading what %s was built from: %w", file, err)
		}
		content, err := os.ReadFile(file) //nolint:gosec // The caller names it.
		if err != nil {
			return nil, fmt.Errorf("reading program: %w", err)
		}
		sum := sha256.Sum256(content)
		_, _ = all.Write(sum[:]) // A hash takes everything.
		if module != "" && module != info.Main.Path {
			return nil, fmt.Errorf("%s is of module %s, others of %s", file, info.Main.Path, module)
		}
		module = info.Main.Path
		used := map[string]bool{}
		for _, c := range parts(info) {
			modules[c.Ref] = c
			used[c.Ref] = true
		}
		name := filepath.Base(file)
		programs = append(programs, component{
			Type: "application", Ref: info.Path, Name: name, Version: version,
			Hashes: []hash{{"SHA-256", hex.EncodeToString(sum[:])}},
		})
		dependencies = append(dependencies, dependency{info.Path, slices.Sorted(maps.Keys(used))})
	}
	sum := all.Sum(nil)
	return &bom{
		Format: "CycloneDX", Spec: "1.6", Serial: serial(sum), Version: 1,
		Metadata: metadata{component{
			Type: "application", Ref: module, Name: module, Version: version, PURL: "pkg:golang/" + module + "@" + version,
		}},
		Components: append(programs, slices.SortedFunc(maps.Values(modules), func(a, b component) int {
			return cmp.Compare(a.Ref, b.Ref)
		})...),
		Dependencies: dependencies,
	}, nil
}

// parts are the modules that a program was built from, and Go's own library.
func parts(info *debug.BuildInfo) []component {
	var all []component
	add := func(path, version string) {
		purl := "pkg:golang/" + path + "@" + strings.ReplaceAll(version, "+", "%2B")
		all = append(all, component{Type: "library", Ref: purl, Name: path, Version: version, PURL: purl})
	}
	add("std", strings.TrimPrefix(info.GoVersion, "go"))
	for _, m := range info.Deps {
		if m.Replace != nil {
			m = m.Replace
		}
		add(m.Path, m.Version)
	}
	return all
}

// serial is a UUID of the kind that the maker defines (RFC 9562, version 8).
func serial(sum []byte) string {
	u := slices.Clone(sum[:16])
	u[6] = u[6]&0x0f | 0x80
	u[8] = u[8]&0x3f | 0x80
	return fmt.Sprintf("urn:uuid:%x-%x-%x-%x-%x", u[:4], u[4:6], u[6:8], u[8:10], u[10:])
}
