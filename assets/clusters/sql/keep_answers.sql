INSERT INTO catalog.judge_answers (judge, question_digest, answer)
SELECT :judge, question_digest, answer FROM incoming_answers
ON CONFLICT (judge, question_digest) DO NOTHING
