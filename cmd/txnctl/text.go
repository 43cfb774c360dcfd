package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"
	"unicode/utf8"
)

// style is how a terminal shows a piece of text; the zero style is plain.
type style string

func (s style) paint(text string) string {
	if s == "" || text == "" {
		return text
	}
	return "\x1b[" + string(s) + "m" + text + "\x1b[0m"
}

// coloured reports whether what f shows may have colours: on a terminal, if
// nobody objects (no-color.org).
func coloured(f *os.File) bool {
	return os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb" && onTerminal(f)
}

// table is lines of cells; columns whose heading begins with ">" are numbers,
// aligned to the right.
type table struct {
	heads []string
	right []bool
	width []int
	rows  [][]string
}

func newTable(heads ...string) *table {
	t := &table{right: make([]bool, len(heads)), width: make([]int, len(heads))}
	for i, h := range heads {
		h, t.right[i] = strings.TrimPrefix(h, ">"), strings.HasPrefix(h, ">")
		t.heads = append(t.heads, h)
		t.width[i] = utf8.RuneCountInString(h)
	}
	return t
}

func (t *table) add(cells ...string) {
	for i, c := range cells {
		t.width[i] = max(t.width[i], utf8.RuneCountInString(c))
	}
	t.rows = append(t.rows, cells)
}

func (t *table) print(w io.Writer, head style) {
	fmt.Fprintln(w, head.paint(t.line(t.heads)))
	for _, r := range t.rows {
		fmt.Fprintln(w, t.line(r))
	}
}

func (t *table) line(cells []string) string {
	var b strings.Builder
	for i, c := range cells {
		space := strings.Repeat(" ", t.width[i]-utf8.RuneCountInString(c))
		if t.right[i] {
			b.WriteString(space + c + "  ")
		} else {
			b.WriteString(c + space + "  ")
		}
	}
	return strings.TrimRight(b.String(), " ")
}

// fact is a name and what it is.
type fact struct{ name, value string }

// printFacts prints names and values in two columns, without empty values.
func printFacts(w io.Writer, name style, facts ...fact) {
	width := 0
	for _, f := range facts {
		if f.value != "" {
			width = max(width, len(f.name))
		}
	}
	for _, f := range facts {
		if f.value != "" {
			space := strings.Repeat(" ", width-len(f.name))
			fmt.Fprintf(w, "%s%s  %s\n", name.paint(f.name), space, f.value)
		}
	}
}

// count is "1 page" or "2 pages".
func count[N int | int64 | uint64](n N, what string) string {
	if n == 1 {
		return "1 " + what
	}
	if strings.HasSuffix(what, "y") {
		what = strings.TrimSuffix(what, "y") + "ie"
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// bytesText is "512 B" or "1.5 MiB".
func bytesText(n int64) string {
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	v, units := float64(n), "KMGTP"
	for v /= 1024; v >= 1024 && len(units) > 1; v /= 1024 {
		units = units[1:]
	}
	return fmt.Sprintf("%.1f %ciB", v, units[0])
}

// lsnText is for LSNs that may be none.
func lsnText(lsn uint64) string {
	if lsn == 0 {
		return "none yet"
	}
	return fmt.Sprintf("LSN %d", lsn)
}

// timeText is a time of an entry for people; jsonTime for programs.
func timeText(ns int64) string { return time.Unix(0, ns).UTC().Format("2006-01-02 15:04:05Z") }
func jsonTime(ns int64) string { return time.Unix(0, ns).UTC().Format(time.RFC3339Nano) }

// printable is s, quoted if a terminal should not be sent it.
func printable(s string) string {
	if q := fmt.Sprintf("%q", s); q[1:len(q)-1] != s {
		return q
	}
	return s
}

func printables(list []string) (out []string) {
	for _, s := range list {
		out = append(out, printable(s))
	}
	return out
}
