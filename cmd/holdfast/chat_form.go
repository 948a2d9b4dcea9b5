package main

import (
	"context"
	"slices"

	holdfast "github.com/holdfast-run/holdfast"
)

// addForm shows a question and asks for its first field.
func (ch *chat) addForm(f *form) {
	ch.endText()
	ch.dropForm(f.id)
	ch.forms = append(ch.forms, f)
	who := ""
	if f.server != "" {
		who = f.server + " asks: "
	}
	ch.paragraph("? "+who+f.message, "33", "")
	if f.url != "" {
		// Not broken into lines: the terminal does, and it stays a link.
		ch.add("  open this link in a browser:", "  "+clean(f.url))
	}
}

// dropForm takes a question back, since it has its answer.
func (ch *chat) dropForm(id string) {
	ch.forms = slices.DeleteFunc(ch.forms, func(f *form) bool { return f.id == id })
}

// fill takes what was written for the field that is asked, and sends the answer
// when it is whole.
func (ch *chat) fill(ctx context.Context, written string) {
	f := ch.forms[0]
	if f.sent {
		ch.editor.set(written)
		ch.notice = "the answer is on its way"
		return
	}
	asked := f.ask()
	a, done, problem := f.enter(written)
	if problem != nil {
		ch.add(ch.fold(ch.style.red("✗ " + problem.Error())))
		return
	}
	ch.add(ch.fold(ch.style.dim("  " + asked + ": " + oneLine(written, 200))))
	if !done {
		return
	}
	f.sent = true
	id := ch.session
	ch.beside(ctx, func(ctx context.Context) error {
		_, err := ch.client.AnswerInput(ctx, id, f.id, a)
		return err
	}, func(err error) {
		switch code := holdfast.CodeOf(err); {
		case id != ch.session:
		case err == nil, code == holdfast.CodeConflict: // there is an answer, maybe another one
			ch.dropForm(f.id)
		case code == holdfast.CodeInvalidInput: // the refusal is an event, which says why
			f.again()
		default:
			f.again()
			ch.orFail(err)
		}
	})
}
