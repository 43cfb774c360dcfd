package graph

// Measures of the picture, in pixels.
const (
	margin      = 24
	firstColumn = margin + 44
	rowHeight   = 20  // of one row of labels
	labelHeight = 17  // of a label in it
	band        = 13  // above and below a line
	between     = 8   // two volumes
	station     = 20  // least distance of two stations
	forkRun     = 30  // least distance of a fork's first station from where it leaves
	flagsWide   = 380 // of the labels of one station in one row
	fontSize    = 12
	gap         = 5 // between two labels
)

// MaxLabel is how many characters of a name a label of the picture shows.
const MaxLabel = 36

// stairs is how many labelled stations may stand so close that the label of each
// has to stand above that of the next. Up to fewStations of a lineage wish that
// none has to.
const (
	stairs      = 8
	fewStations = 12
)

// box is a place in the picture.
type box struct{ x, y, w, h int }

// label is a text in its box.
type label struct {
	box
	kind   labelKind
	text   string
	title  string // all of it, when text is not
	colour int
}

type labelKind uint8

const (
	headLabel labelKind = iota // what all this is
	noteLabel                  // more of that, in grey
	nameLabel                  // of a lineage
	goneLabel                  // of one that is deleted
	sizeLabel
	axisLabel // an LSN
	flagLabel // a tag
	holdLabel
)

// track is the line of a lineage.
type track struct {
	colour     int
	y          int
	from       int // x of its first station, or of where it leaves its origin
	to         int // x of its last station
	fork       bool
	originY    int // of a fork
	live       bool
	title      string
	stationsOf []stop
}

// stop is a station.
type stop struct {
	x             int
	bare, current bool
	pole          int // y of the upper end of its pole; 0 for none
	title         string
}

// layout is a picture with a place for everything, before it is drawn.
type layout struct {
	t       *tree
	columns columns
	spaces  [][]int     // of each lineage, needed behind each point
	wishes  [][]int     // the same, so that no label need stand above the next
	labels  []label     // all of them
	tracks  []track     // from above
	of      []int       // track of each lineage
	posts   []stop      // lines from their poles to the bottom: holds of the store
	grid    []int       // x of lines from the axis to the bottom: LSNs
	xs      [][]int     // of each lineage's points
	tags    [][][]label // of each lineage's points, not placed yet

	axis, edge, width, height int
}

func newLayout(g *Graph) *layout {
	l := &layout{t: newTree(g)}
	n := len(l.t.lines)
	l.spaces, l.wishes, l.xs, l.tags, l.of = make([][]int, n), make([][]int, n), make([][]int, n), make([][][]label, n), make([]int, n)
	for i := range l.t.lines {
		l.makeLabels(i)
	}
	l.makeColumns()
	y := l.head(g)
	for k, i := range l.t.roots {
		if k > 0 && !(l.plain(i) && l.plain(l.t.roots[k-1])) {
			y += between
		}
		y = l.place(i, y)
	}
	l.names()
	for _, b := range l.labels {
		l.width, l.height = max(l.width, b.x+b.w), max(l.height, b.y+b.h)
	}
	l.width, l.height = max(l.width, l.edge)+margin, max(l.height, y)+margin/2
	return l
}

// plain reports whether a lineage is but a line. Those stand close together.
func (l *layout) plain(i int) bool {
	for k, p := range l.t.lines[i].points {
		if len(p.forks)+len(l.tags[i][k]) > 0 {
			return false
		}
	}
	return true
}

// makeLabels makes the labels of a lineage's tips and says how far apart these
// should be.
func (l *layout) makeLabels(i int) {
	ln := &l.t.lines[i]
	n, labelled := len(ln.points), 0
	l.tags[i], l.spaces[i], l.wishes[i] = make([][]label, n), make([]int, n), make([]int, n)
	for k, p := range ln.points {
		l.spaces[i][k], l.wishes[i][k] = station, station
		if p.tip == nil || len(p.tip.Tags)+len(p.tip.Holds) == 0 {
			continue
		}
		l.tags[i][k] = labelsOf(p.tip)
		l.wishes[i][k] = max(station, rowWidth(l.tags[i][k])+gap)
		if labelled++; labelled%stairs == 0 {
			l.spaces[i][k] = l.wishes[i][k]
		}
	}
	if labelled > fewStations {
		l.wishes[i] = l.spaces[i]
	}
}

// labelsOf are the flags and holds of a tip.
func labelsOf(t *Tip) (all []label) {
	for _, tag := range t.Tags {
		name := printable(tag)
		text := shorten(name, MaxLabel)
		all = append(all, label{box: box{w: textWidth(text, fontSize, false) + 18, h: labelHeight}, kind: flagLabel, text: text, title: "Tag " + name})
	}
	for _, h := range t.Holds {
		all = append(all, holdOf(h, t.LSN))
	}
	return all
}

func holdOf(h Hold, lsn uint64) label {
	name := h.text(lsn, printable)
	text := h.text(lsn, func(s string) string { return shorten(printable(s), MaxLabel) })
	return label{box: box{w: textWidth(text, fontSize, false) + 30, h: labelHeight}, kind: holdLabel, text: text, title: "Held by " + name}
}

// rowWidth is the width of labels broken into rows.
func rowWidth(labels []label) (w int) {
	for _, r := range rowsOf(labels) {
		w = max(w, r.w)
	}
	return w
}

// labelRow is labels beside each other.
type labelRow struct {
	labels []label
	w      int
}

func rowsOf(labels []label) (rows []labelRow) {
	for _, b := range labels {
		if n := len(rows); n == 0 || rows[n-1].w+gap+b.w > flagsWide {
			rows = append(rows, labelRow{w: b.w, labels: []label{b}})
			continue
		}
		r := &rows[len(rows)-1]
		r.labels, r.w = append(r.labels, b), r.w+gap+b.w
	}
	return rows
}

// placeAll gives all stations their x, and the picture its edge.
func (l *layout) placeAll() {
	l.edge = firstColumn
	for _, i := range l.t.roots {
		l.placeStations(i)
	}
	l.edge = max(l.edge, l.columns.x[len(l.columns.x)-1]) + station + forkRun
}

// placeStations gives the points of a lineage and of its forks their x: that of
// the column, or to the right of it when there is no room.
func (l *layout) placeStations(i int) {
	ln := &l.t.lines[i]
	least := 0
	if ln.parent >= 0 {
		least = l.xs[ln.parent][ln.at] + forkRun
	}
	l.edge, l.xs[i] = max(l.edge, least), l.xs[i][:0]
	for k, p := range ln.points {
		x := max(l.columns.at(p.lsn), least)
		l.xs[i] = append(l.xs[i], x)
		least = x + l.spaces[i][k]
		l.edge = max(l.edge, x)
	}
	for _, p := range ln.points {
		for _, f := range p.forks {
			l.placeStations(f)
		}
	}
}

// place gives a lineage and its forks their rows, and returns where they end.
func (l *layout) place(i, top int) (bottom int) {
	ln := &l.t.lines[i]
	rows, tops := l.raise(i)
	y := top + rows*rowHeight + band
	colour := len(l.tracks) % colours
	tr := track{colour: colour, y: y, live: ln.current() != nil, title: l.t.g.Lineages[i].title(printable)}
	if ln.parent >= 0 {
		origin := &l.tracks[l.of[ln.parent]]
		tr.fork, tr.originY, tr.from = true, origin.y, l.xs[ln.parent][ln.at]
		tr.to = tr.from + forkRun
	} else if len(ln.points) > 0 {
		tr.from = l.xs[i][0]
	} else {
		tr.from, tr.to = l.edge, l.edge
	}
	for k := range ln.points {
		tr.to = l.xs[i][k]
		tr.stationsOf = append(tr.stationsOf, l.stop(i, k, y, tops[k], colour))
	}
	l.of[i] = len(l.tracks)
	l.tracks = append(l.tracks, tr)
	bottom = y + band
	for k := len(ln.points) - 1; k >= 0; k-- {
		for _, f := range ln.points[k].forks {
			bottom = l.place(f, bottom)
		}
	}
	return bottom
}

// raise says in which row above the line the labels of each point begin, and
// how many rows there are.
func (l *layout) raise(i int) (rows int, first []int) {
	xs := l.xs[i]
	first, tops := make([]int, len(xs)), make([]int, len(xs))
	for k := len(xs) - 1; k >= 0; k-- {
		if len(l.tags[i][k]) == 0 {
			continue
		}
		right := xs[k] + rowWidth(l.tags[i][k]) + gap
		for j := k + 1; j < len(xs) && xs[j] < right; j++ {
			first[k] = max(first[k], tops[j])
		}
		tops[k] = first[k] + len(rowsOf(l.tags[i][k]))
		rows = max(rows, tops[k])
	}
	return rows, first
}

// stop places one station and its labels.
func (l *layout) stop(i, k, y, row, colour int) stop {
	p := &l.t.lines[i].points[k]
	s := stop{x: l.xs[i][k], bare: p.tip == nil, title: l.t.g.Lineages[i].title(printable) + " at LSN " + number(p.lsn)}
	if p.tip != nil {
		s.current = p.tip.Current
		s.title += ": " + pagesText(p.tip.Pages) + ", " + size(p.tip.Bytes)
	}
	s.pole = l.hang(l.tags[i][k], s.x, y-band+2, row, colour)
	return s
}

// hang places labels above a station and returns where the pole ends that they
// hang at; base is the lower end of the row 0. It returns 0 when there are none.
func (l *layout) hang(labels []label, x, base, row, colour int) (pole int) {
	for _, r := range rowsOf(labels) {
		row++
		at, top := x, base-row*rowHeight+rowHeight-labelHeight
		pole = top
		if r.labels[0].kind == holdLabel { // which is round
			pole += labelHeight / 2
		}
		for _, b := range r.labels {
			b.x, b.y, b.colour = at, top, colour
			at += b.w + gap
			l.labels = append(l.labels, b)
		}
	}
	return pole
}

// names writes what the lines are called at their ends.
func (l *layout) names() {
	left, widest := l.edge+10, 0
	var sizes []label
	for i := range l.t.lines {
		tr := &l.tracks[l.of[i]]
		b := label{kind: nameLabel, title: tr.title, text: shorten(tr.title, MaxLabel), colour: tr.colour}
		b.box = box{left, tr.y - labelHeight/2, textWidth(b.text, fontSize+1, true), labelHeight}
		t := l.t.lines[i].current()
		if l.t.g.Lineages[i].Volume == "" && t == nil {
			b.kind = goneLabel
		} else {
			widest = max(widest, b.w) // what has no size may reach below sizes
		}
		l.labels = append(l.labels, b)
		if t != nil {
			text := pagesText(t.Pages) + ", " + size(t.Bytes)
			sizes = append(sizes, label{kind: sizeLabel, text: text, box: box{0, b.y, textWidth(text, fontSize, false), labelHeight}})
		}
	}
	for _, b := range sizes {
		b.x = left + widest + 14
		l.labels = append(l.labels, b)
	}
}

// head places title and axis, and returns where the lines may begin.
func (l *layout) head(g *Graph) (y int) {
	store := shorten(printable(g.Store), 2*MaxLabel)
	y = margin - 6
	l.labels = append(l.labels,
		label{box: box{margin, y, textWidth("Store "+store, fontSize+4, true), 22}, kind: headLabel, text: "Store " + store, title: "Store " + printable(g.Store)})
	y += 24
	note := l.t.census().summary() + " at " + g.when()
	l.labels = append(l.labels, label{box: box{margin, y, textWidth(note, fontSize, false), labelHeight}, kind: noteLabel, text: note})
	y += labelHeight + 10
	y = l.signs(g, y)
	l.axis = y + band
	l.scale()
	return l.axis + labelHeight + band
}

// signs places the holds of the store above the axis, as the tags of a lineage.
func (l *layout) signs(g *Graph, top int) (y int) {
	line := Lineage{}
	for _, h := range g.Holds {
		line.Tips = append(line.Tips, Tip{LSN: h.LSN, Holds: []Hold{h}})
	}
	a := layout{t: newTree(&Graph{Lineages: []Lineage{line}}), columns: l.columns}
	a.spaces, a.wishes, a.xs, a.tags = make([][]int, 1), make([][]int, 1), make([][]int, 1), make([][][]label, 1)
	a.makeLabels(0)
	for _, labels := range a.tags[0] {
		for k := range labels {
			b := &labels[k]
			b.text, b.title = "log kept for "+b.text, b.title[len("Held by "):]
			b.title, b.w = "The log is kept for "+b.title, textWidth(b.text, fontSize, false)+30
		}
	}
	for _, p := range a.t.lines[0].points {
		a.xs[0] = append(a.xs[0], l.columns.at(p.lsn))
	}
	rows, first := a.raise(0)
	y = top + rows*rowHeight
	for k, x := range a.xs[0] {
		l.posts = append(l.posts, stop{x: x, pole: l.hang(a.tags[0][k], x, y, first[k], -1)})
	}
	return y
}

// scale writes LSNs below the axis, as many as there is room for: the newest,
// then from the left.
func (l *layout) scale() {
	c, y := &l.columns, l.axis+4
	at := func(i int) label {
		text := number(c.lsns[i])
		w := textWidth(text, fontSize-1, false)
		return label{box: box{c.x[i] - w/2, y, w, 14}, kind: axisLabel, text: text}
	}
	caption := label{box: box{margin, y, textWidth("LSN", fontSize-1, false), 14}, kind: axisLabel, text: "LSN"}
	free, last := caption.x+caption.w+gap, at(len(c.x)-1)
	last.x = max(last.x, free)
	l.labels = append(l.labels, caption, last)
	l.grid = append(l.grid, c.x[len(c.x)-1])
	for i := range len(c.x) - 1 {
		if b := at(i); b.x >= free && b.x+b.w+2*gap <= last.x {
			l.labels, l.grid = append(l.labels, b), append(l.grid, c.x[i])
			free = b.x + b.w + 2*gap
		}
	}
}

// textWidth is at least the width of a text in the usual fonts, in pixels. Those
// of ASCII are measured on DejaVu Sans, which is wide.
func textWidth(s string, font int, heavy bool) int {
	thousandths := 0
	for _, r := range s {
		thousandths += advance(r)
	}
	if heavy {
		thousandths += thousandths / 8
	}
	return (thousandths*font + 999) / 1000
}

// advance is the width of a character, in thousandths of the font's size.
func advance(r rune) int {
	switch {
	case r > 0x7e:
		return []int{0, 800, 1100}[cells(r)]
	case r >= '0' && r <= '9':
		return 640
	}
	switch r {
	case 'i', 'j', 'l', 'I', '\'', '|', '.', ',', ':', ';', ' ', '!':
		return 410
	case 'f', 't', 'r', '(', ')', '[', ']', '/', '\\', '-', 'J', '`':
		return 420
	case 'm', 'M', 'W', '@', '%':
		return 1010
	case 'w', '<', '>', '=', '+', '~', '^', '#', 'D', 'G', 'H', 'N', 'O', 'Q', 'U':
		return 850
	}
	if r >= 'A' && r <= 'Z' {
		return 720
	}
	return 660
}
