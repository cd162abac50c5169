{% test between(model, column_name, least=0, most=none) %}
select {{ column_name }}
from {{ model }}
where {{ column_name }} < {{ least }}
{% if most is not none %}   or {{ column_name }} > {{ most }}{% endif %}
{% endtest %}
