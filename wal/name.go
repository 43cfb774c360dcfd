package wal

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// ValidName refuses what cannot name a volume or a ref: a name is 1 to
// MaxNameBytes bytes of UTF-8 without control characters, and neither begins nor
// ends with white space. Any other character means itself: no name is a path.
func ValidName(name string) error {
	switch {
	case name == "":
		return badName(name, "is empty")
	case len(name) > MaxNameBytes:
		return badName(name[:16], fmt.Sprintf("... is %d bytes long, at most %d", len(name), MaxNameBytes))
	case !utf8.ValidString(name):
		return badName(name, "is not UTF-8")
	case strings.ContainsFunc(name, unicode.IsControl):
		return badName(name, "has a control character")
	case strings.TrimSpace(name) != name:
		return badName(name, "begins or ends with white space")
	}
	return nil
}

func badName(name, what string) error {
	return fmt.Errorf("wal: name %q %s: choose 1 to %d bytes of plain text", name, what, MaxNameBytes)
}
