-- What judges have said of pairs, so that no question is asked twice.

CREATE TABLE catalog.judge_answers (
    judge           text NOT NULL,
    question_digest text NOT NULL,
    answer          text NOT NULL CHECK (answer IN ('yes', 'no', 'unsure')),
    answered_at     timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (judge, question_digest)
);

COMMENT ON TABLE catalog.judge_answers IS
    'Every question about two offers that a judge has answered; the same texts are the same question.';
COMMENT ON COLUMN catalog.judge_answers.judge IS 'The model and the digest of its instructions.';
COMMENT ON COLUMN catalog.judge_answers.question_digest IS 'xxh3-128 of what was told of both offers.';
COMMENT ON COLUMN catalog.judge_answers.answer IS 'Whether they are one product.';
COMMENT ON COLUMN catalog.judge_answers.answered_at IS 'When it was answered.';

ALTER TABLE catalog.scored_pairs ADD COLUMN judgement text CHECK (judgement IN ('yes', 'no', 'unsure'));
COMMENT ON COLUMN catalog.scored_pairs.judgement IS
    'What a judge said of the pair, where one was asked; it decides instead of the probability.';
