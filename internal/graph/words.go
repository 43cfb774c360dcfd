package graph

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxMarks is how many combining marks in a row a name may have and be shown as
// it is; more would reach into the lines above.
const maxMarks = 3

// printable is a name as people are shown it: quoted when it has what neither
// a terminal nor a picture should be sent, or what would look like something else.
func printable(s string) string {
	q := strconv.Quote(s)
	switch {
	case tooManyMarks(s):
		return strconv.QuoteToASCII(s)
	case q[1:len(q)-1] != s || s == "" || strings.TrimSpace(s) != s:
		return q
	}
	return s
}

// ascii is a name in characters that every terminal has.
func ascii(s string) string {
	q := strconv.QuoteToASCII(s)
	if q[1:len(q)-1] != s || s == "" || strings.TrimSpace(s) != s {
		return q
	}
	return s
}

// leftToRight keeps a name from changing the order of what stands beside it.
func leftToRight(s string) string {
	const mark = "\u200e"
	if !strings.ContainsFunc(s, fromRight) {
		return s
	}
	return mark + s + mark
}

func fromRight(r rune) bool {
	return r >= 0x590 && r <= 0x8ff || r >= 0xfb1d && r <= 0xfdff || r >= 0xfe70 && r <= 0xfeff ||
		r >= 0x10800 && r <= 0x10fff || r >= 0x1e800 && r <= 0x1efff
}

// tooManyMarks reports marks that have nothing to stand on, or too many on it.
func tooManyMarks(s string) bool {
	run := maxMarks // at the beginning there is nothing
	for _, r := range s {
		if !isMark(r) {
			run = 0
			continue
		}
		if run++; run > maxMarks {
			return true
		}
	}
	return false
}

func isMark(r rune) bool { return unicode.Is(unicode.M, r) || unicode.Is(unicode.Cf, r) }

// cells is how many columns of a terminal a rune takes.
func cells(r rune) int {
	switch {
	case r < 0x300:
		return 1
	case unicode.Is(unicode.Mn, r), unicode.Is(unicode.Me, r), unicode.Is(unicode.Cf, r):
		return 0
	case isWide(r):
		return 2
	}
	return 1
}

// isWide: East Asian wide characters, and pictures.
func isWide(r rune) bool {
	return r >= 0x1100 && r <= 0x115f || r >= 0x231a && r <= 0x231b || r >= 0x23e9 && r <= 0x23f3 ||
		r >= 0x25fd && r <= 0x27bf && !unicode.Is(unicode.Sm, r) || r >= 0x2b1b && r <= 0x2b55 ||
		r >= 0x2e80 && r <= 0x303e || r >= 0x3041 && r <= 0xa4cf || r >= 0xa960 && r <= 0xa97c ||
		r >= 0xac00 && r <= 0xd7a3 || r >= 0xf900 && r <= 0xfaff || r >= 0xfe30 && r <= 0xfe6f ||
		r >= 0xff01 && r <= 0xff60 || r >= 0xffe0 && r <= 0xffe6 || r >= 0x16fe0 && r <= 0x18cff ||
		r >= 0x1b000 && r <= 0x1b2ff || r >= 0x1f000 && r <= 0x1faff || r >= 0x20000 && r <= 0x3fffd
}

// width is how many columns of a terminal a text takes.
func width(s string) (n int) {
	for _, r := range s {
		n += cells(r)
	}
	return n
}

// wider reports whether a text takes more than n columns, without looking at all
// of a long one.
func wider(s string, n int) bool {
	for _, r := range s {
		if n -= cells(r); n < 0 {
			return true
		}
	}
	return n < 0
}

// splitAt cuts a text behind the last rune that fits into n columns, and at
// least one.
func splitAt(s string, n int) (head, tail string) {
	used := 0
	for i, r := range s {
		if used += cells(r); used > n && i > 0 {
			return s[:i], s[i:]
		}
	}
	return s, ""
}

// number is 1234567 as "1234567": LSNs are typed into commands as they are shown.
func number(n uint64) string { return strconv.FormatUint(n, 10) }

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// size is "512 B" or "1.5 MiB".
func size(n int64) string {
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	v, units := float64(n), "KMGTPE"
	for v /= 1024; v >= 1024 && len(units) > 1; v /= 1024 {
		units = units[1:]
	}
	return fmt.Sprintf("%.1f %ciB", v, units[0])
}

// shorten leaves out the middle of a text of more than n runes.
func shorten(s string, n int) string {
	if utf8.RuneCountInString(s) <= n {
		return s
	}
	r := []rune(s)
	head, tail := (n-1)*2/3, n-1-(n-1)*2/3
	for head > 0 && isMark(r[head]) { // do not tear a character apart
		head--
	}
	from := len(r) - tail
	for from < len(r) && isMark(r[from]) {
		from++
	}
	return string(r[:head]) + "…" + string(r[from:])
}

func pagesText(n uint64) string {
	if n == 1 {
		return "1 page"
	}
	return number(n) + " pages"
}
