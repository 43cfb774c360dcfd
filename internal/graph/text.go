package graph

import (
	"bufio"
	"io"
	"strings"
)

// MinWidth is the least width of Text, in columns.
const MinWidth = 40

const (
	maxIndent = 240 // columns of indentation, however deep forks go
	minRoom   = 24  // columns for the tree, or sizes are left out
)

// TextOptions of Text. The zero value is plain UTF-8 of any width.
type TextOptions struct {
	Width int  // of the terminal, in columns, at least MinWidth; 0 is without limit
	ASCII bool // no other characters
	Color bool // ANSI colours
}

// Text draws a graph for a terminal. Errors are w's.
func Text(w io.Writer, g Graph, o TextOptions) error {
	if o.Width != 0 {
		o.Width = max(o.Width, MinWidth)
	}
	p := &printer{w: bufio.NewWriter(w), o: o, t: newTree(&g), art: &boxes, name: func(s string) string { return leftToRight(printable(s)) }}
	if o.ASCII {
		p.art, p.name = &plainArt, ascii
	}
	p.print(&g)
	return p.w.Flush()
}

// art is what lines and stations are drawn with.
type art struct{ down, more, last, none, tip, current, gone, cut string }

var (
	boxes    = art{"│ ", "├─", "╰─", "  ", "○", "●", "·", "… "}
	plainArt = art{"| ", "|-", "`-", "  ", "o", "*", ".", "~ "}
)

// Styles, as parameters of the ANSI sequence.
const (
	plain     = ""
	faint     = "2"
	bold      = "1"
	tagStyle  = "33"
	holdStyle = "36"
	nowStyle  = "32"
)

// word is a piece of a line in one style; lines are broken between words.
type word struct{ text, style string }

// row is one line of the tree before it is broken to the width.
type row struct {
	lsn         uint64
	hasLSN      bool
	first, rest string // what stands before the words: in the first line, in those after it
	words       []word
	tip         *Tip
}

// printer prints one graph.
type printer struct {
	w    *bufio.Writer
	o    TextOptions
	t    *tree
	art  *art
	name func(string) string
	rows []row
}

func (p *printer) print(g *Graph) {
	p.paragraph("Store " + p.name(g.Store) + " at " + g.when() + ": " + p.t.census().summary() + ".")
	if len(p.t.roots) > 0 {
		p.w.WriteByte('\n')
		p.rows = append(p.rows, row{words: []word{{"VOLUME", bold}}})
	}
	for _, i := range p.t.roots {
		p.lineage(i, "", "", "")
	}
	p.table()
	if len(g.Holds) > 0 {
		p.w.WriteByte('\n')
	}
	for _, h := range g.Holds {
		p.paragraph("The log is kept for " + h.text(0, p.name) + ".")
	}
}

// lineage adds the rows of a lineage and its forks. first and rest are what
// stands before its name and below it.
func (p *printer) lineage(i int, first, rest, kind string) {
	l := &p.t.lines[i]
	title := []word{{p.t.g.Lineages[i].title(p.name), bold}}
	if kind != "" {
		title = append([]word{{kind, faint}}, title...)
	}
	if len(l.points) == 1 && len(l.points[0].forks) == 0 && l.points[0].tip != nil {
		p.station(&l.points[0], title, first, rest, false)
		return
	}
	if first != "" {
		first += " "
	}
	rest = p.cut(rest, maxIndent)
	p.rows = append(p.rows, row{first: first, rest: rest, words: title})
	for k := range l.points {
		last := k == len(l.points)-1
		pt := &l.points[k]
		arm, below := p.art.more, p.art.down
		if last {
			arm, below = p.art.last, p.art.none
		}
		p.station(pt, nil, rest+arm, rest+below, true)
		for n, f := range pt.forks {
			arm, under := p.art.more, p.art.down
			if n == len(pt.forks)-1 {
				arm, under = p.art.last, p.art.none
			}
			p.lineage(f, rest+below+arm, rest+below+under+" ", "fork")
		}
	}
}

// station adds the row of one point.
func (p *printer) station(pt *point, words []word, first, rest string, named bool) {
	mark, r := p.art.gone, row{lsn: pt.lsn, hasLSN: true, tip: pt.tip, rest: rest}
	if pt.tip != nil {
		mark = p.art.tip
		if pt.tip.Current {
			mark = p.art.current
		}
		words = append(words, p.labels(pt.tip, named)...)
	}
	if len(pt.forks) > 0 && len(rest) > 0 {
		r.rest += p.art.down
	} else {
		r.rest += p.art.none
	}
	r.first, r.words = first+mark+" ", words
	p.rows = append(p.rows, r)
}

func (p *printer) labels(t *Tip, named bool) (w []word) {
	if t.Current && named {
		w = append(w, word{"current", nowStyle})
	}
	w = append(w, list("tag", len(t.Tags), func(i int) string { return p.name(t.Tags[i]) }, tagStyle)...)
	if len(w) > 0 && len(t.Holds) > 0 {
		w[len(w)-1].text += ";"
	}
	return append(w, list("held by", len(t.Holds), func(i int) string { return t.Holds[i].text(t.LSN, p.name) }, holdStyle)...)
}

// list is "tag a," "b".
func list(what string, n int, text func(int) string, style string) (w []word) {
	if n > 1 && what == "tag" {
		what = "tags"
	}
	for i := range n {
		t := text(i)
		if i < n-1 {
			t += ","
		}
		if i == 0 {
			w = append(w, word{what, faint})
		}
		for part := range strings.SplitSeq(t, " ") {
			w = append(w, word{part, style})
		}
	}
	return w
}

// table prints the rows: LSNs, the tree, pages, sizes. No pages is no sizes.
func (p *printer) table() {
	lsn, pages, bytes, left := 3, 5, 4, 0
	for _, r := range p.rows {
		if r.hasLSN {
			lsn = max(lsn, len(number(r.lsn)))
		}
		if r.tip != nil {
			pages, bytes = max(pages, len(number(r.tip.Pages))), max(bytes, len(size(r.tip.Bytes)))
		}
	}
	room := 0 // for the tree; 0 is without limit
	if p.o.Width != 0 {
		if room = p.o.Width - lsn - pages - bytes - 6; room < minRoom {
			room, pages = p.o.Width-lsn-2, 0
		}
	}
	var lines [][]word
	var of []int // row of each line
	for i, r := range p.rows {
		for _, l := range p.wrap(r, room) {
			lines, of = append(lines, l), append(of, i)
			left = max(left, widthOf(l))
		}
	}
	for k, l := range lines {
		r, head := &p.rows[of[k]], k == 0 || of[k] != of[k-1]
		p.line(r, l, head, lsn, left, pages, bytes)
	}
}

// line prints one line of the table. The first row is its head.
func (p *printer) line(r *row, l []word, begins bool, lsn, left, pages, bytes int) {
	no, pg, by, style := "", "", "", faint
	switch {
	case r == &p.rows[0]:
		no, pg, by, style = "LSN", "PAGES", "SIZE", bold
	case begins && r.hasLSN:
		no = number(r.lsn)
	}
	if begins && r.tip != nil {
		pg, by = number(r.tip.Pages), size(r.tip.Bytes)
	}
	l = append([]word{{spaces(lsn-len(no)) + no, style}, {"  ", plain}}, l...)
	if pg != "" && pages > 0 {
		l = append(l, word{spaces(lsn + 2 + left - widthOf(l) + 2 + pages - len(pg)), plain}, word{pg, style},
			word{spaces(2 + bytes - len(by)), plain}, word{by, style})
	}
	p.write(l)
}

// wrap breaks a row into lines of at most room columns.
func (p *printer) wrap(r row, room int) (lines [][]word) {
	first, rest := r.first, r.rest
	if room > 0 {
		first, rest = p.cut(first, room/2), p.cut(rest, room/2)
	}
	line := []word{{first, plain}}
	used, fresh := width(first), true
	for _, w := range r.words {
		if !fresh {
			w.text = " " + w.text
		}
		for room > 0 && wider(w.text, room-used) {
			if !fresh { // on a line of its own
				w.text = strings.TrimPrefix(w.text, " ")
			} else {
				var head string
				head, w.text = splitAt(w.text, room-used)
				line = append(line, word{head, w.style})
			}
			lines, line = append(lines, line), []word{{rest, plain}}
			used, fresh = width(rest), true
		}
		if w.text != "" {
			line = append(line, w)
			used, fresh = used+width(w.text), false
		}
	}
	return append(lines, line)
}

// cut leaves out the outermost part of an indentation.
func (p *printer) cut(s string, room int) string {
	r := []rune(s)
	if len(r) <= room {
		return s
	}
	return p.art.cut + string(r[len(r)-room+len([]rune(p.art.cut)):])
}

// paragraph prints a sentence.
func (p *printer) paragraph(s string) {
	r := row{}
	for _, w := range strings.Fields(s) {
		r.words = append(r.words, word{w, plain})
	}
	for _, l := range p.wrap(r, p.o.Width) {
		p.write(l)
	}
}

// write prints one line, without spaces at its end.
func (p *printer) write(l []word) {
	for len(l) > 0 && strings.TrimRight(l[len(l)-1].text, " ") == "" {
		l = l[:len(l)-1]
	}
	for i, w := range l {
		if i == len(l)-1 {
			w.text = strings.TrimRight(w.text, " ")
		}
		if p.o.Color && w.style != plain && strings.TrimSpace(w.text) != "" {
			w.text = "\x1b[" + w.style + "m" + w.text + "\x1b[0m"
		}
		p.w.WriteString(w.text)
	}
	p.w.WriteByte('\n')
}

func widthOf(l []word) (n int) {
	for _, w := range l {
		n += width(w.text)
	}
	return n
}

func spaces(n int) string { return strings.Repeat(" ", max(n, 0)) }
