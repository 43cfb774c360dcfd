package main

import (
	"os"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/spf13/cobra"
)

// TestHelpWidth: help fits a terminal of 100 columns.
func TestHelpWidth(t *testing.T) {
	t.Setenv("TMPDIR", "/tmp") // a default that is shown
	var look func(c *cobra.Command)
	look = func(c *cobra.Command) {
		for line := range strings.Lines(c.Long + "\n" + c.UsageString()) {
			if n := utf8.RuneCountInString(strings.TrimRight(line, "\n")); n > 100 && c.Name() != "json" {
				t.Errorf("%s: %d columns: %s", c.CommandPath(), n, line)
			}
		}
		for _, below := range c.Commands() {
			look(below)
		}
	}
	look(newApp(os.Stdin, os.Stdout, os.Stderr).root())
}
