package wal

import (
	"strings"
	"testing"
)

func TestValidName(t *testing.T) {
	good := []string{"a", "remote/origin", "日本", "a b", "..", "a\u00a0b", strings.Repeat("x", 255)}
	bad := []string{
		"", " ", " a", "a ", "a\u00a0", "\u2028a", "a\nb", "a\x00", "\x7f", "a\u0085b", "\xff", "a\xc3",
		strings.Repeat("x", 256), strings.Repeat("é", 200),
	}
	for _, s := range good {
		if err := ValidName(s); err != nil {
			t.Errorf("%q: %v", s, err)
		}
	}
	for _, s := range bad {
		if ValidName(s) == nil {
			t.Errorf("%q: accepted", s)
		}
	}
}
