package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"
)

// errDeclined: the person was asked and did not agree.
var errDeclined = errors.New("nothing was done")

// confirm says what is about to happen and has the person agree. Where nobody
// can be asked it wants yes.
func (p *program) confirm(what string, yes bool) error {
	if yes {
		return nil
	}
	if p.stdin == nil {
		return usagef("%s There is no terminal to ask at: give --yes if that is what you want", what)
	}
	fmt.Fprintf(p.stderr, "%s Go on? [y/N] ", what)
	answer, err := bufio.NewReader(p.stdin).ReadString('\n')
	if errors.Is(err, io.EOF) && answer == "" {
		fmt.Fprintln(p.stderr)
		return usagef("nobody answers: give --yes if that is what you want")
	}
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		return nil
	}
	return errDeclined
}
