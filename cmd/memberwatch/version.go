package main

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

func (p *program) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Show what this program was built from",
		Long:    `version prints the version, the commit and the version of Go.`,
		Example: `  memberwatch version`,
		Args:    exactly(),
		RunE: func(*cobra.Command, []string) error {
			fmt.Fprintf(p.stdout, "memberwatch %s\ncommit      %s\ngo          %s %s/%s\n", version, commit(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
			return nil
		},
	}
}

// commit is the revision of the source, as far as the build knows.
func commit() string {
	revision, modified := "unknown", ""
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return revision
	}
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			revision = s.Value
		case s.Key == "vcs.modified" && s.Value == "true":
			modified = ", modified"
		}
	}
	return revision + modified
}
